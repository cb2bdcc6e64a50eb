//! Names of sockets.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bartizan_abi::Errno;
use bartizan_abi::socket::{AddressFamily, UNIX_PATH_MAX};

use super::UnixSocket;
use crate::sync::{LockClass, Mutex};
use crate::vfs::FsString;

/// Bytes of the family before the name.
const FAMILY_SIZE: usize = size_of::<u16>();

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// A place in the file system, as it was given.
    Path(FsString),
    /// A name of the network namespace, without the NUL before it.
    Abstract(Vec<u8>),
}

impl UnixAddress {
    /// Takes a `struct sockaddr_un` apart; none for one without a name.
    ///
    /// # Errors
    /// `EINVAL` for another family or a wrong length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, Errno> {
        let (family, name) = bytes.split_first_chunk::<FAMILY_SIZE>().ok_or(Errno::EINVAL)?;
        if u16::from_ne_bytes(*family) != AddressFamily::AF_UNIX.0 || name.len() > UNIX_PATH_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(match name {
            [] => None,
            [0, name @ ..] => Some(Self::Abstract(name.to_vec())),
            path => Some(Self::Path(path.iter().copied().take_while(|&byte| byte != 0).collect())),
        })
    }

    /// The `struct sockaddr_un` of a socket that is bound to this, or to nothing.
    pub fn to_bytes(address: Option<&Self>) -> Vec<u8> {
        let mut bytes = AddressFamily::AF_UNIX.0.to_ne_bytes().to_vec();
        match address {
            None => {}
            Some(Self::Path(path)) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
            Some(Self::Abstract(name)) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
        }
        bytes
    }
}

/// The abstract names of a network namespace. Lock: class `Table`.
#[derive(Debug)]
pub struct AbstractNames(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    bound: HashMap<Vec<u8>, Weak<UnixSocket>>,
    next: u32,
}

impl Default for AbstractNames {
    fn default() -> Self {
        Self(Mutex::new(LockClass::Table, Names::default()))
    }
}

impl AbstractNames {
    /// Gives a name to a socket.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub fn bind(&self, name: &[u8], socket: &Arc<UnixSocket>) -> Result<(), Errno> {
        let mut names = self.0.lock();
        if names.bound.get(name).is_some_and(|bound| bound.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        names.bound.insert(name.to_vec(), Arc::downgrade(socket));
        Ok(())
    }

    /// Gives a socket a name that nobody has: five hexadecimal digits (`unix(7)`, "Autobind feature").
    ///
    /// # Errors
    /// `ENOSPC` if there is none left.
    pub fn bind_any(&self, socket: &Arc<UnixSocket>) -> Result<Vec<u8>, Errno> {
        const NAMES: u32 = 1 << 20;
        for _ in 0..NAMES {
            let number = {
                let mut names = self.0.lock();
                names.next = (names.next + 1) % NAMES;
                names.next
            };
            let name = format!("{number:05x}").into_bytes();
            if self.bind(&name, socket).is_ok() {
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// The socket with this name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<UnixSocket>> {
        self.0.lock().bound.get(name)?.upgrade()
    }

    /// Takes a name back, if it is still that of `socket`.
    pub fn release(&self, name: &[u8], socket: &UnixSocket) {
        let mut names = self.0.lock();
        if names.bound.get(name).is_some_and(|bound| std::ptr::eq(bound.as_ptr(), socket)) {
            names.bound.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::UnixKind;
    use super::*;

    fn sockaddr(name: &[u8]) -> Vec<u8> {
        [&AddressFamily::AF_UNIX.0.to_ne_bytes()[..], name].concat()
    }

    #[test]
    fn addresses_come_and_go_as_bytes() {
        assert_eq!(UnixAddress::from_bytes(&sockaddr(b"")), Ok(None));
        let path = UnixAddress::from_bytes(&sockaddr(b"/a/b\0junk")).expect("valid").expect("a path");
        assert_eq!(path, UnixAddress::Path(b"/a/b".to_vec()));
        assert_eq!(UnixAddress::to_bytes(Some(&path)), sockaddr(b"/a/b\0"));
        let name = UnixAddress::from_bytes(&sockaddr(b"\0x\0y")).expect("valid").expect("a name");
        assert_eq!(UnixAddress::to_bytes(Some(&name)), sockaddr(b"\0x\0y"));
        assert_eq!(UnixAddress::from_bytes(&[1]), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::from_bytes(&[2, 0, 1]), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::from_bytes(&sockaddr(&[b'x'; 109])), Err(Errno::EINVAL));
    }

    #[test]
    fn names_are_free_again_when_their_socket_is_gone() {
        let names = AbstractNames::default();
        let socket = UnixSocket::new(UnixKind::Stream);
        assert_eq!(names.bind(b"n", &socket), Ok(()));
        let other = UnixSocket::new(UnixKind::Stream);
        assert_eq!(names.bind(b"n", &other), Err(Errno::EADDRINUSE));
        assert_eq!(names.bind_any(&other).map(|name| name.len()), Ok(5));
        drop(socket);
        assert_eq!(names.bind(b"n", &other), Ok(()));
        names.release(b"n", &other);
        assert!(names.find(b"n").is_none());
    }
}
