//! `/dev/random` and `/dev/urandom`: the host's random numbers (`random(4)`).

use bartizan_abi::Errno;
use bartizan_abi::ioctl::RNDGETENTCNT;
use bartizan_sentry::SysResult;
use bartizan_sentry::kernel::CurrentTask;
use bartizan_sentry::mm::{UserAddr, UserPtr};
use bartizan_sentry::vfs::{DataSink, DataSource, File, FileOps, Written};
use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes that are asked of the host at a time; up to this many it neither blocks nor stops short.
const CHUNK: usize = 256;

/// Bits of entropy that Linux reports once its pool is filled.
const ENTROPY: i32 = 256;

/// An open `/dev/random` or `/dev/urandom`.
#[derive(Debug)]
pub struct Random;

impl FileOps for Random {
    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        let mut done = 0;
        while sink.remaining() > 0 {
            let mut buffer = [0; CHUNK];
            let wanted = sink.remaining().min(CHUNK);
            getrandom(&mut buffer[..wanted], GetRandomFlags::empty()).map_err(|_| Errno::EIO)?;
            match sink.put(&buffer[..wanted]) {
                Ok(taken) if taken == wanted => done += taken,
                Ok(taken) => return Ok(done + taken),
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// What is written is mixed into nothing: the pool is the host's.
    fn write(&self, _file: &File, source: &mut dyn DataSource, offset: u64) -> Result<Written, Errno> {
        let (mut buffer, mut count) = ([0; CHUNK], 0);
        while source.remaining() > 0 {
            match source.take(&mut buffer) {
                Ok(0) => break,
                Ok(taken) => count += taken,
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Written { count, end: offset.saturating_add(count as u64) })
    }

    fn ioctl(&self, _file: &File, task: &CurrentTask, request: u32, argument: UserAddr) -> SysResult<u64> {
        if request != RNDGETENTCNT {
            return Err(Errno::EINVAL.into());
        }
        task.write_value(UserPtr::new(argument), &ENTROPY)?;
        Ok(0)
    }
}
