//! `busybox sh` with its applets in pipelines.

use crate::case::Case;

/// The cases.
pub const CASES: &[Case] = &[
    Case::busybox("busybox_true", "true"),
    Case::busybox("busybox_exit_code", "exit 42"),
    Case::busybox("busybox_echo", "echo hello, world; printf '%05d %s\\n' 42 text"),
    Case::busybox("busybox_killed_by_a_signal", "sh -c 'kill -TERM $$; sleep 5'; echo $?"),
    Case::busybox("busybox_cat_of_a_file", "cat /etc/passwd"),
    Case::busybox("busybox_missing_program", "no_such_program; echo $?").with_errors(),
    Case::busybox("busybox_seq_sort_uniq_wc", "seq 1 5000 | sed 's/[0-9]$//' | sort -n | uniq -c | wc -l"),
    Case::busybox("busybox_seq_tac_head_tail", "seq 1 1000 | tac | head -n 20 | tail -n 5"),
    Case::busybox("busybox_tr_rev_fold", "echo 'The quick brown fox' | tr a-z A-Z | rev | fold -w 7"),
    Case::busybox("busybox_cut_paste", "cut -d: -f1,3 /etc/passwd | paste -s -d, | tr , '\\n' | sort"),
    Case::busybox("busybox_grep_awk", "grep -v nologin /etc/passwd | awk -F: '{n += $3} END {print NR, n}'"),
    Case::busybox("busybox_sed_expressions", "seq 1 100 | sed -n -e '/5/{s/5/five/g;p}' -e '$='"),
    Case::busybox(
        "busybox_md5_sha_sums",
        "cd /etc; for s in md5sum sha1sum sha256sum sha512sum; do $s passwd group; done",
    ),
    Case::busybox(
        "busybox_gzip_round_trip",
        "seq 1 20000 > a; gzip -c a | gunzip -c | cmp - a && echo same; gzip a; zcat a.gz | wc",
    ),
    Case::busybox("busybox_bzip2_round_trip", "seq 1 5000 > a; bzip2 -c a | bzcat | cmp - a && echo same"),
    Case::busybox(
        "busybox_tar_round_trip",
        "mkdir -p a/b/c; for i in $(seq 1 50); do echo $i > a/b/f$i; done; ln -s b a/link; \
         tar c a | (mkdir out; cd out; tar x); diff -r a out/a && echo same; find out | sort | tail -n 5",
    ),
    Case::busybox(
        "busybox_cpio",
        "mkdir d; echo x > d/x; find d | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null | sort",
    ),
    Case::busybox(
        "busybox_find_xargs",
        "mkdir -p t/a t/b; touch t/a/1 t/a/2 t/b/3; \
         find t -type f | sort | xargs -n 1 basename; find t -type d | wc -l",
    ),
    Case::busybox(
        "busybox_base64_xxd_od",
        "echo binary | base64 | base64 -d | xxd; echo abc | od -c; echo abc | hexdump -C",
    ),
    Case::busybox(
        "busybox_dd",
        "dd if=/dev/zero of=z bs=1k count=100 2>/dev/null; wc -c z; \
         dd if=z bs=10 skip=1 count=2 2>/dev/null | wc -c",
    ),
    Case::busybox(
        "busybox_expr_bc_dc",
        "expr 6 \\* 7; echo '2^100' | bc; echo '10 3 / p' | dc; factor 123456",
    ),
    Case::busybox(
        "busybox_diff_patch",
        "seq 1 10 > a; sed 's/5/five/' a > b; diff -u a b | tail -n +3; diff -u a b > p; patch a p; \
         cmp a b && echo same",
    ),
    Case::busybox("busybox_date_of_a_number", "date -u -d @1000000000 '+%Y-%m-%d %H:%M:%S'; cal 2 2000"),
    Case::busybox(
        "busybox_ls_stat",
        "touch a; chmod 640 a; mkdir d; ln -s a l; ls -F; stat -c '%n %a %F %s' a l",
    ),
    Case::busybox(
        "busybox_mv_cp_rm",
        "echo 1 > a; cp a b; mv b c; cp -r /etc/init.d d; ls d | wc -l; rm -rf a d; ls",
    ),
    Case::busybox(
        "busybox_ln_readlink_realpath",
        "mkdir -p a/b; ln -s ../x a/b/l; readlink a/b/l; touch a/x; realpath a/b/l; ln a/x y; stat -c %h y",
    ),
    Case::busybox("busybox_mkfifo", "mkfifo p; (seq 1 100 > p) & awk '{n += $1} END {print n}' p; wait"),
    Case::busybox("busybox_tee", "seq 1 10 | tee a b | wc -l; cmp a b && echo same"),
    Case::busybox("busybox_yes_head", "yes | head -n 100000 | md5sum"),
    Case::busybox("busybox_large_pipe", "dd if=/dev/zero bs=64k count=500 2>/dev/null | md5sum"),
    Case::busybox(
        "busybox_wc_nl_expand",
        "printf 'a\\tb\\nc\\n' | expand | nl | wc; printf 'a       b\\n' | unexpand -a | od -c",
    ),
    Case::busybox(
        "busybox_test_operators",
        "touch a; [ -f a ] && [ ! -d a ] && [ -e /dev/null -a -c /dev/null ] && test 3 -lt 5 && echo yes",
    ),
    Case::busybox(
        "busybox_shell_functions",
        "f() { local x=$1; [ $x -le 1 ] && { echo 1; return; }; echo $(($x * $(f $(($x - 1))))); }; f 8",
    ),
    Case::busybox("busybox_here_document", "x=5; cat <<END; cat <<'END'\nvalue $x\nEND\nvalue $x\nEND\n"),
    Case::busybox(
        "busybox_loops",
        "for i in a b c; do echo $i; done; i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo $i; done",
    ),
    Case::busybox(
        "busybox_case_and_globs",
        "touch a.c b.c d.h; for f in *.c; do case $f in a*) echo first;; *) echo $f;; esac; done; echo [ad].?",
    ),
    Case::busybox(
        "busybox_background_and_wait",
        "for i in 1 2 3; do (sleep 0.0$i; exit $i) & done; wait; echo all; (exit 3) & wait $!; echo $?",
    ),
    Case::busybox("busybox_trap", "trap 'echo got it' USR1; kill -USR1 $$; trap 'echo bye' EXIT; exit 3"),
    Case::busybox(
        "busybox_redirections",
        "{ echo out; echo err >&2; } 2>&1 >f | sed 's/^/piped /'; cat f; exec 3<f; read line <&3; echo $line",
    ),
    Case::busybox(
        "busybox_environment",
        "A=1 env | grep ^A=; export B=2; sh -c 'echo $B'; env -i sh -c 'echo ${A:-none}'",
    ),
    Case::busybox("busybox_id_and_names", "id -u; id -g; whoami; [ -n \"$(hostname)\" ] && uname -s -m"),
    Case::busybox("busybox_timeout", "timeout 0.2 sleep 10; echo $?; timeout 5 true; echo $?"),
    Case::busybox(
        "busybox_mktemp",
        "f=$(mktemp); [ -f $f ] && echo made; rm $f; d=$(mktemp -d); [ -d $d ] && rmdir $d && echo gone",
    ),
    Case::busybox(
        "busybox_truncate_du",
        "truncate -s 1M a; stat -c %s a; wc -c < a; [ $(du -k a | cut -f1) -lt 100 ] && echo sparse",
    ),
    Case::busybox("busybox_sleep_many", "for i in $(seq 1 30); do sleep 0.01 & done; wait; echo done"),
    Case::busybox("busybox_ps_shows_itself", "ps -o pid,comm | grep -q busybox && echo found"),
    Case::busybox(
        "busybox_uuencode",
        "echo some text | uuencode name | uudecode -o -; echo 12 | crc32 /dev/stdin | wc -c",
    ),
    Case::busybox(
        "busybox_sorted_lists",
        "seq 1 50 > a; seq 40 90 > b; sort a b | uniq -d | wc -l; sort a b | uniq -u | sort -n | head -n 3",
    ),
    Case::busybox(
        "busybox_ed",
        "seq 1 5 > a; printf '2d\\n$a\\nlast\\n.\\nw\\nq\\n' | ed a >/dev/null; cat a",
    ),
    Case::busybox(
        "busybox_strings_dos2unix",
        "echo two > 2; strings -n 3 /bin/busybox | head -n 3 | wc -l; unix2dos < 2 | od -c",
    ),
    Case::busybox("busybox_proc_status_of_a_user", "grep -E '^(Uid|Gid):' /proc/self/status"),
    Case::busybox("busybox_arithmetic", "echo $((1<<40)) $((0x7fff * 3)) $((7 % 3)) $(( (5 > 3) && !0 ))"),
    Case::busybox("busybox_deep_subshells", "( ( ( ( (echo deep; exit 7) ) ) ) ); echo $?"),
    Case::busybox("busybox_shuf", "shuf -i 5-5; seq 1 100 | shuf | sort -n | md5sum"),
    Case::busybox(
        "busybox_thirty_applets_in_one_pipeline",
        "seq 1 300 | cat | tac | rev | rev | tac | sort -n | uniq | nl | awk '{print $2}' | sed 's/$/ x/' \
         | cut -d' ' -f1 | tr 0-9 a-j | tr a-j 0-9 | fold -w 80 | expand | unexpand | tee copy | grep -v z \
         | egrep '[0-9]' | fgrep -v y | head -n 250 | tail -n 200 | xargs -n 10 echo | paste -s -d' ' \
         | tr ' ' '\\n' | base64 | base64 -d | gzip | gunzip | bzip2 | bunzip2 | od -An -c | hexdump -C \
         | xxd | dd 2>/dev/null | md5sum",
    ),
];
