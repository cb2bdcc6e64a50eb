//! `/proc/[pid]/net` (`proc_pid_net(5)`): there is a loopback interface and nothing that uses it, so that tables of connections
//! have their heads alone. Of sockets of `unix(7)` those are listed that somebody has open.

use std::sync::Arc;

use std::collections::BTreeMap;

use bartizan_abi::{Errno, FileType};
use bartizan_sentry::kernel::unix::{UnixAddress, UnixFile, UnixKind, UnixSocket};
use bartizan_sentry::kernel::{Kernel, Task};
use bartizan_sentry::vfs::Inode;

use crate::proc::process::Subject;
use crate::pseudo::{DirectoryBuilder, Tree};

const DEV: &str = concat!(
    "Inter-|   Receive                                                |  Transmit\n",
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
    "    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
);
const TCP: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const UDP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";
const NETLINK: &str =
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
const PACKET: &str = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
const SOCKSTAT: &str = "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n";

/// Directory `number` in directory `parent`.
pub fn directory(tree: &Arc<Tree>, subject: &Subject, number: u64, parent: u64) -> Arc<Inode> {
    let mut builder = DirectoryBuilder::new(tree, number, parent);
    let subject = subject.clone();
    builder.file("unix", 0o444, move || unix_sockets(&*subject.kernel()?));
    for (name, text) in [("dev", DEV), ("arp", ARP), ("netlink", NETLINK), ("packet", PACKET)] {
        builder.file(name, 0o444, move || Ok(text.to_owned()));
    }
    for (name, text) in [("tcp6", TCP6), ("udp6", UDP6), ("raw", RAW), ("raw6", UDP6), ("sockstat", SOCKSTAT)]
    {
        builder.file(name, 0o444, move || Ok(text.to_owned()));
    }
    // Linux fills these lines with blanks.
    for (name, text, width) in [("tcp", TCP, 149), ("udp", UDP, 127), ("route", ROUTE, 127)] {
        builder.file(name, 0o444, move || Ok(format!("{text:width$}\n")));
    }
    for name in ["if_inet6", "ipv6_route", "dev_mcast", "wireless"] {
        builder.file(name, 0o444, || Ok(String::new()));
    }
    tree.inode(number, FileType::Directory, builder.finish())
}

/// `unix`: a line for each socket.
fn unix_sockets(kernel: &Kernel) -> Result<String, Errno> {
    let tasks: Vec<Arc<Task>> = kernel.tree().tasks().cloned().collect();
    let mut lines = BTreeMap::new();
    for files in tasks.iter().filter_map(|task| task.files()) {
        for (_, file, ..) in files.entries() {
            if let Some(socket) = file.downcast::<UnixFile>() {
                let number = file.inode().number();
                lines.entry(number).or_insert_with(|| unix_socket(socket.socket(), number));
            }
        }
    }
    Ok(lines.into_values().fold(UNIX.to_owned(), |text, line| text + &line))
}

/// The line of one socket with inode `number`. Addresses of the kernel are nobody's business.
fn unix_socket(socket: &UnixSocket, number: u64) -> String {
    let connected = socket.peer_address().is_ok();
    let flags = if socket.is_listening() { SO_ACCEPTCON } else { 0 };
    let kind = match socket.kind() {
        UnixKind::Stream => 1,
        UnixKind::Datagram => 2,
        UnixKind::SequencedPacket => 5,
    };
    let (references, state) = if connected { (3, SS_CONNECTED) } else { (2, SS_UNCONNECTED) };
    let name = match socket.address() {
        None => String::new(),
        Some(UnixAddress::Path(path)) => format!(" {}", String::from_utf8_lossy(&path)),
        Some(UnixAddress::Abstract(name)) => {
            format!(" @{}", String::from_utf8_lossy(&name).replace('\0', "@"))
        }
    };
    format!("{:016x}: {references:08X} {:08X} {flags:08X} {kind:04X} {state:02X} {number:5}{name}\n", 0, 0)
}

/// It listens (`__SO_ACCEPTCON`).
const SO_ACCEPTCON: u32 = 1 << 16;
/// The states of sockets.
const SS_UNCONNECTED: u32 = 1;
const SS_CONNECTED: u32 = 3;
