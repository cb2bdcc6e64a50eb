//! Programs that read `/proc` to show processes and the state of the system.

use crate::case::Case;

/// The cases.
pub const CASES: &[Case] = &[
    Case::bash(
        "ps_shows_processes",
        &["ps"],
        "(exec -a bartizan-$((40 + 2)) sleep 100) & sleep 0.2; ps auxf | head -n 1 | tr -s ' '; ps auxf | grep -c '[b]artizan-42'; ps -o comm=,stat= --ppid $$ | grep sleep
         ps -p $! -o ppid= | grep -c $$; ps -Lo comm= -p $!; kill $!",
    ),
    Case::bash(
        "free_vmstat_and_uptime_show_the_system",
        &["free", "vmstat", "uptime"],
        "free | awk '{print $1, NF}'; vmstat | head -n 2; vmstat | awk 'END {print NF}'
         uptime | grep -cE '^ [0-9:]+ up .*load average: '",
    ),
    Case::bash(
        "top_shows_processes_once",
        &["top"],
        "export TERM=dumb; top -b -n 1 | sed -n 7p | tr -s ' '; top -b -n 1 -p $$ | grep -c ' bash'
         top -b -n 1 | sed -n 2p | awk '{print $1, $3, $5, $7, $9, $11}' | tr -d 0-9",
    ),
    Case::bash(
        "pmap_and_w_show_their_tables",
        &["pmap", "w"],
        "pmap -x $$ | sed -n 2p; pmap -x $$ | grep -c '\\[ stack \\]'; w | sed -n 2p",
    ),
    Case::bash(
        "lsof_shows_the_files_of_a_process",
        &["lsof"],
        "exec 7>file; lsof -p $$ 2>/dev/null | awk 'NR == 1 || $4 == \"cwd\" || $4 == \"txt\" || $4 == \"7w\" {print $3, $4, $5, $9}'",
    ),
];
