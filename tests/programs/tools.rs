//! The tools of every Debian system: coreutils, find, grep, tar, awk, sed, sort, compressors, make, git.

use crate::case::Case;

/// The cases.
pub const CASES: &[Case] = &[
    Case::bash("ls_of_all_documentation", &["bash", "ls"], "ls -laR /usr/share/doc | md5sum").within(180),
    Case::bash("ls_of_etc", &["bash", "ls"], "ls -lA /etc; ls -i /etc | md5sum").within(60),
    Case::bash("ls_of_a_missing_file", &["bash", "ls"], "ls /no/such/file; echo $?").with_errors(),
    Case::bash("find_all_files_of_usr", &["bash", "find"], "find /usr -xdev -type f | sort | md5sum").within(240),
    Case::bash(
        "find_with_conditions",
        &["bash", "find"],
        "find /usr/share/doc -maxdepth 2 -name 'c*' -size +1k -newermt 2000-01-01 -printf '%p %s %m %y\\n' | sort | md5sum",
    )
    .within(120),
    Case::bash(
        "find_executes_and_deletes",
        &["bash", "find"],
        "mkdir -p d/{a,b,c}; touch d/{a,b,c}/{1..20}; find d -type f -exec basename {} + | sort | uniq -c; \
         find d -delete; ls",
    ),
    Case::bash("grep_over_all_headers", &["bash", "grep"], "grep -r 'struct.*{' /usr/include | sort | md5sum")
        .within(240),
    Case::bash(
        "grep_counts_and_contexts",
        &["bash", "grep"],
        "grep -rlw errno /usr/include/x86_64-linux-gnu | sort; \
         grep -n -A1 -B1 -m 3 define /usr/include/errno.h; grep -c . /etc/passwd; grep nothing /etc/passwd; echo $?",
    )
    .within(120),
    Case::bash(
        "tar_of_all_headers",
        &["bash", "tar", "diff"],
        "tar c -C / usr/include | tar x -C /tmp; diff -r /usr/include /tmp/usr/include && echo same; \
         find /tmp/usr | wc -l",
    )
    .within(400),
    Case::bash(
        "tar_keeps_modes_and_times",
        &["bash", "tar"],
        "mkdir a; echo x > a/f; chmod 751 a/f; touch -d @1000000000 a/f; ln a/f a/g; ln -s f a/s; mkfifo a/p; touch -h -d @1100000000 a/s a/p; \
         tar cf t.tar a; mkdir o; tar xpf t.tar -C o; stat -c '%n %a %Y %h %F' o/a/f o/a/g o/a/s o/a/p; tar tf t.tar | sort",
    ),
    Case::bash(
        "coreutils_cp_mv_install",
        &["bash"],
        "cp -a /etc/ssl s 2>/dev/null; find s | wc -l; install -m 711 /bin/true t; ./t && stat -c '%a %s' t; \
         cp --sparse=always /dev/null e; mv t u; ls -1; cp -r s s2; diff -r s s2 && rm -r s s2; ls",
    )
    .within(120),
    Case::bash(
        "coreutils_text_tools",
        &["bash"],
        "seq 1 1000 > a; split -l 100 a p; cat p* | cmp - a && ls p* | wc -l; csplit -s a 500; wc -l xx00 xx01; \
         comm -12 <(sort a) <(seq 500 1500 | sort) | wc -l; join <(seq 3) <(seq 2 4); pr -t -3 -l 5 <(seq 9); \
         shuf -i 1-100 | sort -n | md5sum; tsort <<< 'a b b c'; numfmt --to=iec 1048576; ptx <<< 'a b' | md5sum",
    ),
    Case::bash(
        "coreutils_stat_and_links",
        &["bash"],
        "touch f; ln f g; ln -s f s; stat -c '%h %F %a' f s; readlink -f s; realpath --relative-to=/ s; \
         [ f -ef g ] && echo one; truncate -s 5000 f; stat -c %s g; du -b f | cut -f1; touch -r /bin/true f; \
         [ f -nt /bin/true ] || echo not newer; mkdir -m 1777 d; stat -c %A d; chmod u+s,g-w f; stat -c %A f",
    ),
    Case::bash(
        "coreutils_dd_and_sums",
        &["bash"],
        "dd if=/dev/zero bs=1M count=64 status=none | sha256sum; dd if=/bin/bash bs=4k skip=3 count=5 status=none | md5sum; \
         head -c 1000000 /bin/bash | b2sum; cksum /bin/true; od -An -tx1 -N16 /bin/true; basenc --base32 <<< text",
    )
    .within(120),
    Case::bash(
        "coreutils_env_and_processes",
        &["bash"],
        "env -i A=1 env; nice -n 5 nice; timeout 0.3 sleep 9; echo $?; timeout -s KILL 0.3 sleep 9; echo $?; \
         stdbuf -oL echo x; nohup echo y; printenv HOME; id -u; groups; tty; nproc --all > /dev/null && echo ok; \
         chroot / /bin/echo in; uname -s; arch; kill -l 9; sleep 0.05",
    ),
    Case::bash(
        "awk_of_100000_lines",
        &["bash", "mawk"],
        "seq 1 100000 | mawk '{s += $1; c[$1 % 10]++} END {printf \"%d\\n\", s; for (i = 0; i < 10; i++) print i, c[i]}'",
    )
    .within(120),
    Case::bash(
        "gawk_programs",
        &["bash", "gawk"],
        "seq 1 10000 | gawk '{a[NR] = $1 * 7 % 10007} END {n = asort(a); print n, a[1], a[n]; \
         \"echo sub\" | getline x; print x; print strftime(\"%Y\", 0, 1); system(\"exit 3\")}'; \
         gawk 'BEGIN {while ((\"seq 3\" | getline l) > 0) print l; print toupper(\"abc\") | \"cat\"}'",
    )
    .within(120),
    Case::bash(
        "sed_of_100000_lines",
        &["bash", "sed"],
        "seq 1 100000 | sed -e 's/1/one/g' -e '/5$/d' -e '2~10y/0123/abcd/' | md5sum; \
         seq 5 > f; sed -i.bak '3d' f; cat f; ls",
    )
    .within(120),
    Case::bash(
        "sort_of_100000_lines",
        &["bash", "mawk"],
        "mawk 'BEGIN {for (i = 0; i < 100000; i++) {x = (x * 1103515245 + 12345) % 2147483648; print x}}' > a; \
         sort a | md5sum; sort -n -u a | md5sum; sort -R --random-source=/bin/true a | wc -l; \
         sort -S 200k --parallel=4 a | md5sum; sort -c <(sort a) && echo sorted",
    )
    .within(180),
    Case::bash(
        "gzip_and_bzip2",
        &["bash", "gzip", "bzip2"],
        "head -c 3000000 /bin/bash > a; gzip -k a; gzip -dc a.gz | cmp - a && echo same; gzip -l a.gz | wc -l; \
         bzip2 -k a; bzip2 -dc a.bz2 | cmp - a && echo same; gzip -t a.gz; echo x | gzip -d 2>/dev/null; echo $?",
    )
    .within(120),
    Case::bash(
        "xz_with_threads",
        &["bash", "xz"],
        "head -c 6000000 /usr/bin/perl > a; xz -1 -k -T2 --block-size=1MiB a; xz -dc -T2 a.xz | cmp - a && echo same; \
         xz -t a.xz; echo $?",
    )
    .within(240),
    Case::bash(
        "zstd_with_threads",
        &["bash", "zstd"],
        "head -c 8000000 /usr/bin/perl > a; for i in 1 2 3; do cat a; done > b; zstd -q -T2 -5 b; \
         zstd -q -dc b.zst | cmp - b && echo same; zstd -q -T2 --long -19 -c a | zstd -q -dc | md5sum; zstd -q -t b.zst; echo $?",
    )
    .within(240),
    Case::bash(
        "make_compiles_three_files_and_runs",
        &["bash", "make", "gcc"],
        "cat > a.c <<'E'\n#include \"t.h\"\n#include <stdio.h>\nint main(void) { printf(\"%d %s\\n\", add(2, 3), name()); return 7; }\nE\n\
         printf '#include \"t.h\"\\nconst char *name(void) { return \"three files\"; }\\n' > c.c\n\
         printf '#include \"t.h\"\\nint add(int a, int b) { return a + b; }\\n' > b.c\n\
         printf 'int add(int, int);\\nconst char *name(void);\\n' > t.h\n\
         printf 'prog: a.o b.o c.o\\n\\tgcc -o $@ $^\\n%%.o: %%.c t.h\\n\\tgcc -O2 -Wall -c $<\\n' > Makefile\n\
         make -s -j2; ./prog; echo $?; touch -d '+1 day' b.c 2>/dev/null; make -n | grep -c gcc; \
         nm prog | grep -c ' T '",
    )
    .within(240),
    Case::bash(
        "gcc_errors_and_static_programs",
        &["bash", "gcc"],
        "echo 'int main(void) { return x; }' > bad.c; gcc bad.c 2>&1 | head -n 3; \
         echo 'int main(void) { return 3; }' > ok.c; gcc -static -o ok ok.c && ./ok; echo $?; \
         gcc -O2 -S -o - ok.c | grep -c main; gcc -shared -fPIC -o lib.so ok.c && ls lib.so",
    )
    .within(240),
    Case::bash(
        "make_features",
        &["bash", "make"],
        "printf 'X := $(shell echo sub)\\nall: a b c\\n\\t@echo all $(X)\\na b c:\\n\\t@sleep 0.05; touch $@\\nfail:\\n\\t@exit 4\\n' > Makefile; \
         make -j4; make -s fail 2>/dev/null; echo $?; ls",
    ),
    Case::bash(
        "git_init_add_commit_log_clone",
        &["bash", "git"],
        "export GIT_AUTHOR_DATE='@1000000000 +0000' GIT_COMMITTER_DATE='@1000000000 +0000' \
         GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1; \
         git init -q -b main r; cd r; for i in {1..30}; do echo $i > f$i; done; git add .; git commit -qm first; \
         echo more >> f1; git mv f2 g2; git commit -qam second; git log --format='%H %s' --stat; git status --short; \
         cd ..; git clone -q r c; cd c; git log --oneline | wc -l; git fsck; git gc -q; git checkout -qb x HEAD~1; \
         git diff main --stat; git blame f1; ls | wc -l",
    )
    .within(240),
    Case::bash(
        "git_merges_and_rebases",
        &["bash", "git"],
        "export GIT_AUTHOR_DATE='@1000000000 +0000' GIT_COMMITTER_DATE='@1000000000 +0000' \
         GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1; \
         git init -q -b main r; cd r; seq 20 > f; git add f; git commit -qm base; git checkout -qb side; \
         sed -i 1d f; git commit -qam side; git checkout -q main; sed -i '$d' f; git commit -qam main; \
         git merge -q side -m merge; cat f | md5sum; git log --graph --format=%s; git checkout -q side; git rebase -q main; \
         git rev-parse HEAD; git stash list; git archive HEAD | tar t; git bundle create -q b HEAD; ls",
    )
    .within(240),
    Case::bash(
        "sqlite_10000_rows",
        &["bash", "sqlite3"],
        "sqlite3 db 'create table t(a integer primary key, b text, c real); create index i on t(b); \
         with recursive n(x) as (select 1 union all select x + 1 from n where x < 10000) \
         insert into t select x, printf(\"row %05d\", x * 7919 % 10000), x / 3.0 from n; \
         select count(*), sum(a), min(b), max(b) from t; select * from t where b = \"row 00042\"; pragma integrity_check;'; \
         sqlite3 db 'select b from t order by b' | md5sum; sqlite3 db .dump | md5sum; ls",
    )
    .within(180),
    Case::bash(
        "sqlite_write_ahead_log_and_transactions",
        &["bash", "sqlite3"],
        "sqlite3 db 'pragma journal_mode=wal; create table t(a); begin; insert into t values (1),(2); rollback; \
         insert into t values (3); select * from t; vacuum;'; \
         for i in 1 2 3 4; do sqlite3 -cmd '.timeout 20000' db \"insert into t values ($i * 10)\" & done; wait; \
         sqlite3 db 'select sum(a) from t'",
    )
    .within(120),
    Case::guest("rust_threads_and_channels", &["gcc"], "channels"),
];
