//! What `bash` itself does: functions, arrays, traps, jobs, substitutions.

use crate::case::Case;

const BASH: &[&str] = &["bash"];

/// The cases.
pub const CASES: &[Case] = &[
    Case::bash("bash_exit_code", BASH, "exit 17"),
    Case::bash(
        "bash_functions",
        BASH,
        "fact() { (( $1 < 2 )) && echo 1 || echo $(( $1 * $(fact $(( $1 - 1 ))) )); }; fact 15",
    ),
    Case::bash(
        "bash_here_documents",
        BASH,
        "x=1; cat <<A; cat <<'B'; cat <<-C\nvalue $x $(echo sub)\nA\nvalue $x\nB\n\tindented\nC\n\
         cat <<< \"string $x\"",
    ),
    Case::bash(
        "bash_arrays",
        BASH,
        "a=(one two 'three four'); a+=(five); echo ${#a[@]} \"${a[2]}\" ${a[@]:1:2}; \
         declare -A m=([k]=v [l]=w); for k in l k; do echo $k=${m[$k]}; done; unset a[0]; echo ${!a[@]}",
    ),
    Case::bash(
        "bash_trap_signals",
        BASH,
        "trap 'echo usr1' USR1; trap 'echo exit $?' EXIT; kill -USR1 $$; ( trap 'echo inner' EXIT ); false; exit 9",
    ),
    Case::bash(
        "bash_trap_errors",
        BASH,
        "trap 'echo error at $LINENO' ERR; false; true; set -e; (exit 5); echo not reached",
    ),
    Case::bash(
        "bash_wait_for_jobs",
        BASH,
        "for i in 3 1 2; do (sleep 0.0$i; exit $i) & p[$i]=$!; done; \
         for i in 1 2 3; do wait ${p[$i]}; echo $?; done; wait -n; echo none $?",
    ),
    Case::bash(
        "bash_process_substitution",
        BASH,
        "diff <(seq 1 5) <(seq 1 6); paste <(echo a) <(echo b); seq 3 > >(sed s/^/x/ > f; echo done > g); \
         while [ ! -s g ]; do sleep 0.02; done; cat f",
    ),
    Case::bash(
        "bash_subshells",
        BASH,
        "x=1; (x=2; cd /; echo $x $PWD); echo $x $PWD; y=$( (echo a; (echo b)); echo c); echo $y; \
         echo $BASH_SUBSHELL $(echo $BASH_SUBSHELL)",
    ),
    Case::bash(
        "bash_200_forked_children",
        BASH,
        "for i in {1..200}; do (exit $((i % 7))) & p[$i]=$!; done; \
         n=0; for j in ${p[@]}; do wait $j; n=$((n + $?)); done; echo $n",
    )
    .within(120),
    Case::bash(
        "bash_200_commands",
        BASH,
        "n=0; for i in {1..200}; do n=$((n + $(/bin/echo $i))); done; echo $n",
    )
    .within(120),
    Case::bash(
        "bash_pipe_status",
        BASH,
        "true | false | (exit 3); echo ${PIPESTATUS[@]}; set -o pipefail; false | true; echo $?; \
         shopt -s lastpipe; echo x | read y; echo $y",
    ),
    Case::bash(
        "bash_string_operations",
        BASH,
        "s=hello/world.txt; \
         echo ${s#*/} ${s%.txt} ${s/l/L} ${s//l/L} ${s^^} ${#s} ${s:2:5} ${none:-default} ${s@Q}",
    ),
    Case::bash(
        "bash_globs",
        BASH,
        "mkdir -p a/b/c; touch a/1 a/b/2 a/b/c/3 .hidden; shopt -s globstar extglob nullglob dotglob; \
         echo **/[0-9]; echo !(a); echo no*such; echo {1..3}{a,b}",
    ),
    Case::bash(
        "bash_arithmetic",
        BASH,
        "echo $((2**62)) $((-7 / 2)) $((16#ff)) $((1 ? 2 : 3)); \
         for ((i = 0; i < 3; i++)); do echo -n $i; done; echo; let x=5*5; echo $x",
    ),
    Case::bash(
        "bash_read_loops",
        BASH,
        "while IFS=: read -r a b c; do echo \"$c-$b-$a\"; done <<< $'1:2:3\\n4:5:6'; \
         mapfile -t l < <(seq 3); echo ${l[@]}; read -t 0.1 x < <(sleep 1); echo $?",
    ),
    Case::bash(
        "bash_printf",
        BASH,
        "printf '%5.2f|%-5s|%05d|%x|%q\\n' 3.14159 ab 42 255 'a b'; printf -v v %s x; echo $v",
    ),
    Case::bash(
        "bash_coprocess",
        BASH,
        "coproc C { while read x; do echo got $x; done; }; echo one >&${C[1]}; read -u ${C[0]} y; echo $y; \
         exec {C[1]}>&-; wait; echo $?",
    ),
    Case::bash(
        "bash_descriptors",
        BASH,
        "exec 5>f; echo five >&5; exec 5>&-; cat f; exec {n}<f; read x <&$n; echo $x; \
         { echo o; echo e >&2; } 2>/dev/null; echo >&9",
    )
    .with_errors(),
    Case::bash(
        "bash_job_control",
        BASH,
        "set -m; sleep 100 & kill -STOP %1; sleep 0.2; jobs | sed 's/  */ /g'; kill -CONT %1; kill %1; \
         wait %1; echo $?",
    ),
    Case::bash(
        "bash_killed_children",
        BASH,
        "bash -c 'kill -9 $$'; echo $?; bash -c 'kill -SEGV $$'; echo $?; (sleep 10 & kill $!; wait $!; echo $?)",
    ),
    Case::bash(
        "bash_interrupted_wait",
        BASH,
        "trap 'echo alarm' ALRM; (sleep 0.2; kill -ALRM $$) & sleep 5 & s=$!; wait $s; echo $?; kill $s",
    ),
    Case::bash("bash_exec_replaces", BASH, "exec -a name bash -c 'echo $0 $#' zero one two"),
    Case::bash(
        "bash_command_not_found",
        BASH,
        "nonexistent; echo $?; /etc/passwd; echo $?; /; echo $?; ./none; echo $?",
    )
    .with_errors(),
    Case::bash(
        "bash_ulimit",
        BASH,
        "ulimit -n 64; ulimit -n; ulimit -Hn; ulimit -f 1; (dd if=/dev/zero of=f bs=1k count=10) 2>/dev/null; \
         echo $?; stat -c %s f",
    ),
    Case::bash("bash_umask", BASH, "umask; umask 077; touch a; mkdir d; stat -c '%a %n' a d; umask -S"),
    Case::bash(
        "bash_login_shell",
        BASH,
        "echo 'echo profile' > .bash_profile; HOME=/tmp bash -l -c 'echo $0 login'",
    ),
    Case::bash("bash_recursion", BASH, "f() { (( $1 == 0 )) && echo bottom || f $(( $1 - 1 )); }; f 500"),
    Case::bash(
        "bash_many_descriptors",
        BASH,
        "for i in {10..60}; do eval \"exec $i>f$i\"; done; for i in {10..60}; do echo $i >&$i; done; cat f* | md5sum",
    ),
    Case::bash(
        "bash_long_pipeline",
        BASH,
        "seq 1000 | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat | cat | md5sum",
    ),
    Case::bash(
        "bash_two_way_named_pipes",
        BASH,
        "mkfifo p q; (while read x; do echo \"<$x>\"; done < p > q) & exec 7>p 8<q; \
         for i in 1 2 3; do echo $i >&7; read y <&8; echo $y; done; exec 7>&-; wait; echo $?",
    ),
    Case::bash("bash_broken_pipe", BASH, "yes | head -n 1; echo ${PIPESTATUS[@]}"),
    Case::bash(
        "bash_getopts_and_select",
        BASH,
        "set -- -a -b val -c; while getopts ab:c o; do echo $o $OPTARG; done; \
         select x in one two; do echo $x; break; done <<< 2 2>/dev/null",
    ),
    Case::bash(
        "bash_regular_expressions",
        BASH,
        "[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}; \
         [[ a < b && -d / && ! -f / ]] && echo yes",
    ),
    Case::bash(
        "bash_device_names",
        BASH,
        "cat /dev/fd/3 3<<< three; echo x > /dev/stderr; echo y > /dev/stdout; cat /dev/stdin <<< in",
    )
    .with_errors(),
    Case::bash(
        "bash_a_large_environment",
        BASH,
        "for i in {1..500}; do export V$i=$(printf %0200d $i); done; env | grep -c ^V; bash -c 'echo ${#V500}'",
    ),
    Case::bash(
        "bash_a_large_argument_list",
        BASH,
        "/bin/echo {1..20000} | md5sum; /bin/echo $(printf %0130000d 1) | wc -c",
    ),
    Case::bash(
        "bash_kills_a_process_group",
        BASH,
        "set -m; (sleep 50 & sleep 50 & wait) & sleep 0.2; kill -TERM -- -$!; wait $!; echo $?",
    ),
    Case::bash(
        "bash_children_outlive_the_shell",
        BASH,
        "bash -c '(sleep 0.2; echo late > f) & '; while [ ! -s f ]; do sleep 0.05; done; cat f",
    ),
];
