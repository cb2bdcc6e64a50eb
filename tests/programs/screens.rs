//! Programs that draw on a terminal: editors, pagers, multiplexers. What is compared is what they leave, not what they draw.

use crate::case::Case;

pub const CASES: &[Case] = &[
    Case::bash(
        "script_records_a_terminal",
        &["script"],
        "script -qec 'tty >/dev/null && echo is a terminal; stty -a | grep -c isig; echo $TERM' /dev/null | tr -d '\\r'; script -qec 'exit 7' /dev/null; echo $?
         echo 'echo typed; exit 3' | script -qec 'bash --norc -i' log >/dev/null; echo $?; grep -c typed log",
    ),
    Case::bash(
        "vim_edits_in_a_terminal",
        &["vim", "script"],
        "seq 100 >file; script -qec \"vim -u NONE -N -n -c ':%s/1/one/g' -c ':wq' file\" /dev/null >/dev/null; md5sum file
         printf ':%%s/2/two/g\\r:w\\rGoadded\\033:x\\r' | script -qec 'vim -u NONE -N -n file' /dev/null >/dev/null; tail -n 3 file; md5sum file",
    ),
    Case::bash(
        "less_shows_pages",
        &["less", "script"],
        "seq 1000 >file; (sleep 0.5; printf 'G'; sleep 0.3; printf '/77\\r'; sleep 0.3; printf 'q') | script -qec 'stty rows 10 cols 40; less file; echo left $?' /dev/null | tr -d '\\r' | grep -a -o -E 'left [0-9]+|^1000'",
    ),
    Case::bash(
        "tmux_runs_programs",
        &["tmux"],
        "tmux -f /dev/null -S socket new-session -d -s one -x 80 -y 24 'bash --norc'; tmux -S socket send-keys -t one 'echo $((6*7)) >out; stty size >size; tmux wait-for -S done' Enter
         timeout 20 tmux -S socket wait-for done; cat out size; tmux -S socket list-sessions -F '#{session_name} #{session_width}'; tmux -S socket split-window -t one 'sleep 100'; tmux -S socket list-panes -t one -F '#{pane_height}'
         tmux -S socket kill-server; sleep 0.2; tmux -S socket list-sessions 2>&1 | wc -l",
    ),
    Case::bash(
        "python_reads_lines_with_history",
        &["python3", "script"],
        "printf 'x = 20\\rprint(x + 1)\\r\\033[A\\033[D\\177\\0612\\rexit(5)\\r' | script -qec 'python3 -q' log >/dev/null; echo $?; tr -d '\\r' <log | grep -a -E '^[0-9]+$'",
    ),
    Case::bash(
        "lsof_and_fuser_see_open_files",
        &["lsof"],
        "sleep 100 3>held <held & sleep 0.2; lsof -w -p $! -a -d 0,3 -Ff0n0 | tr '\\0' ' ' | grep -a held; kill $!",
    ),
];
