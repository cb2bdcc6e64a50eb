//! `/proc/[pid]/net` (`proc_pid_net(5)`): there is a loopback interface and nothing that uses it, so that tables of connections
//! have their heads alone. Sockets of `unix(7)` are not listed.

use std::sync::Arc;

use bartizan_abi::FileType;
use bartizan_sentry::vfs::Inode;

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
pub fn directory(tree: &Arc<Tree>, number: u64, parent: u64) -> Arc<Inode> {
    let mut builder = DirectoryBuilder::new(tree, number, parent);
    for (name, text) in [("dev", DEV), ("unix", UNIX), ("arp", ARP), ("netlink", NETLINK), ("packet", PACKET)]
    {
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
