//! Programs that change the system that they run on: packages, copies with all attributes, locks, watches.

use crate::case::Case;

pub const CASES: &[Case] = &[
    Case::bash(
        "dpkg_installs_upgrades_and_removes",
        &["dpkg", "dpkg-deb"],
        "build() { mkdir -p p$1/DEBIAN p$1/usr/share/bartizan p$1/etc p$1/usr/bin
             printf 'Package: bartizan-test\\nVersion: %s\\nArchitecture: all\\nMaintainer: nobody <nobody@example.invalid>\\nDescription: a test\\n' $1 >p$1/DEBIAN/control
             echo /etc/bartizan.conf >p$1/DEBIAN/conffiles
             printf '#!/bin/sh\\necho postinst $1 $2\\nln -sf bartizan-test /usr/bin/bartizan-link\\n' >p$1/DEBIAN/postinst
             printf '#!/bin/sh\\necho prerm $1 $2\\nrm -f /usr/bin/bartizan-link\\n' >p$1/DEBIAN/prerm
             chmod 755 p$1/DEBIAN/postinst p$1/DEBIAN/prerm
             echo setting=$1 >p$1/etc/bartizan.conf; printf '#!/bin/sh\\necho version %s\\n' $1 >p$1/usr/bin/bartizan-test; chmod 755 p$1/usr/bin/bartizan-test
             for i in $(seq 200); do echo file $i of $1 >p$1/usr/share/bartizan/$i; done; ln p$1/usr/share/bartizan/1 p$1/usr/share/bartizan/link
             dpkg-deb --root-owner-group -b p$1 $1.deb; }
         build 1.0; build 2.0; rm p2.0/usr/share/bartizan/7
         dpkg -i 1.0.deb; bartizan-link; dpkg -s bartizan-test; dpkg -L bartizan-test | sort | md5sum
         echo mine >>/etc/bartizan.conf; dpkg --force-confold -i 2.0.deb; bartizan-test; cat /etc/bartizan.conf; dpkg -V bartizan-test
         stat -c '%h %a %U %s' /usr/share/bartizan/link /usr/bin/bartizan-test; dpkg -r bartizan-test; ls /usr/bin/bartizan* /usr/share/bartizan /etc/bartizan*; dpkg -P bartizan-test
         ls /etc/bartizan*; dpkg -l bartizan-test | tail -n 1",
    )
    .changing_root()
    .within(120),
    Case::bash(
        "dpkg_unpacks_a_tree",
        &["dpkg-deb", "find"],
        "mkdir -p p/DEBIAN p/usr/share; printf 'Package: x\\nVersion: 1\\nArchitecture: all\\nMaintainer: n <n@x.invalid>\\nDescription: x\\n' >p/DEBIAN/control
         cp -a /usr/share/perl5 p/usr/share/; dpkg-deb --root-owner-group -Zgzip -b p x.deb >/dev/null; mkdir -p /srv/root; dpkg-deb -x x.deb /srv/root
         cd /srv/root; find . -printf '%p %y %m %s %T@ %l\\n' | grep -v ' d ' | sort | md5sum; diff -r usr/share/perl5 /usr/share/perl5 && echo same; rm -r /srv/root; ls /srv",
    )
    .changing_root()
    .within(120),
    Case::bash(
        "apt_installs_a_local_package",
        &["apt-get", "dpkg-deb"],
        "mkdir -p p/DEBIAN p/opt/bartizan; printf 'Package: bartizan-local\\nVersion: 3\\nArchitecture: all\\nDepends: bash, coreutils\\nMaintainer: n <n@x.invalid>\\nDescription: x\\n' >p/DEBIAN/control
         echo hello >p/opt/bartizan/file; dpkg-deb --root-owner-group -b p local.deb; chmod 755 /tmp
         apt-get -q=2 -o APT::Sandbox::User=root install ./local.deb 2>/dev/null | grep -v '^(Reading'; cat /opt/bartizan/file; dpkg-query -W bartizan-local
         apt-get -q=2 purge bartizan-local 2>/dev/null | grep -v '^(Reading'; ls /opt/bartizan 2>&1 | wc -l",
    )
    .changing_root()
    .within(180),
    Case::bash(
        "rsync_keeps_everything",
        &["rsync", "setfattr", "find"],
        "mkdir -p from/d; for i in $(seq 300); do echo $i >from/d/f$i; done; ln from/d/f1 from/d/link; ln -s f2 from/d/symlink; mkfifo from/fifo; chmod 4755 from/d/f3
         chown 5:6 from/d/f4; touch -d @1000 from/d/f5; truncate -s 10M from/sparse; setfattr -n user.color -v red from/d/f6
         rsync -aHXS --stats from/ to | grep -E 'Number of|files transferred'; show() { (cd $1; find . -type d -printf '%p %m\\n' -o -type f -printf '%p %y %m %U:%G %s %n %T@\\n' -o -printf '%p %y %m %U:%G %n %l\\n' | sort); }
         show from >a; show to >b; cmp a b && echo same; getfattr -d to/d/f6; rm from/d/f10; echo new >from/d/f11; touch -d @2000 from/d/f11; touch -d @3000 from/d; rsync -aHXi --delete from/ to | sort
         rsync -aHXS from/ /srv/to; show /srv/to >c; show from >a; cmp a c && echo same",
    )
    .changing_root()
    .within(120),
    Case::bash(
        "cp_and_tar_keep_everything",
        &["tar", "setfattr"],
        "mkdir -p from/d; for i in $(seq 100); do echo $i >from/d/f$i; done; ln from/d/f1 from/d/link; ln -s f2 from/d/symlink; mkfifo from/fifo; mknod from/null c 1 3
         chown 5:6 from/d/f4; touch -d @1000 from/d/f5; setfattr -n user.color -v red from/d/f6; truncate -s 10M from/sparse; echo x >>from/sparse
         cp -a from /srv/copy; tar --xattrs -cSf t.tar from; mkdir /srv/tar; tar --xattrs -xpf t.tar -C /srv/tar
         show() { (cd $1; find . -type d -printf '%p %m\\n' -o -printf '%p %y %m %U:%G %s %n %TY %l\\n' | sort; getfattr -R -d .); }
         show from | md5sum; show /srv/copy | md5sum; show /srv/tar/from | md5sum",
    )
    .changing_root(),
    Case::bash(
        "access_lists_are_copied",
        &["tar", "rsync", "setfattr"],
        "list=0x0200000001000700ffffffff02000600e903000004000500ffffffff10000600ffffffff20000100ffffffff
         mkdir -p from/d; for i in $(seq 20); do echo $i >from/d/f$i; done; setfattr -n system.posix_acl_access -v $list from/d/f1; setfattr -n system.posix_acl_default -v $list from/d; umask 077
         echo new >from/d/new; mkdir from/d/below; echo deep >from/d/below/f; chmod 4640 from/d/f1; ls -l from/d | awk '{print $1, $NF}'
         tar --acls --sort=name -cf t.tar from; mkdir /srv/tar; tar --acls -xpf t.tar -C /srv/tar; cp -a from /srv/copy; rsync -aA from/ /srv/rsync; tar -tvf t.tar --acls | head -n 4 | awk '{print $1, $NF}'
         show() { (cd $1; find . -printf '%p %m %s\\n' | sort; find . | sort | xargs getfattr -d -m ^system -e hex | sed 's/ *$//'); }
         show from | tail -n 20; show from >a; for copy in /srv/tar/from /srv/copy /srv/rsync; do show $copy | cmp - a && echo same; done
         cp from/d/f1 plain; stat -c %a plain; getfattr -m - plain; mv from/d/f1 /srv/moved; getfattr -d -m - -e hex /srv/moved 2>&1",
    )
    .changing_root(),
    Case::bash(
        "git_of_2000_files",
        &["git"],
        "export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z' HOME=/srv/home; mkdir -p /srv/home /srv/r; cd /srv/r
         git config --global user.name n; git config --global user.email n@x.invalid; git config --global init.defaultBranch main; git init -q
         for d in $(seq 40); do mkdir d$d; for f in $(seq 50); do echo $d $f >d$d/f$f; done; done; git add .; git commit -qm one; git rev-parse HEAD
         for d in $(seq 1 3 40); do sed -i s/1/one/ d$d/f*; done; git status --short | wc -l; git diff --stat | tail -n 1; git commit -qam two; git mv d2 e2; rm -r d5; git add -A
         git commit -qm three; git log --oneline --stat | md5sum; git gc -q; git fsck; git clone -q . ../c; cd ../c; git checkout -q HEAD~1; ls | wc -l; git ls-files | md5sum; git worktree add -q ../w; ls ../w | wc -l",
    )
    .changing_root()
    .within(180),
    Case::bash(
        "flock_excludes",
        &["flock"],
        "touch /srv/lock; (flock 9; echo first; sleep 0.3; echo first done) 9>/srv/lock & sleep 0.1; flock -n /srv/lock true; echo $?; flock -w 5 /srv/lock echo second; wait
         flock -s /srv/lock flock -n -s /srv/lock echo shared; flock -s /srv/lock flock -n /srv/lock echo never; echo $?",
    )
    .changing_root(),
    Case::bash(
        "inotifywait_sees_an_overlay",
        &["inotifywait"],
        "mkdir /srv/w; cp /etc/hostname /srv/w/old; inotifywait -q -m -r --format '%w%f %e' /srv/w /etc/apt >events & for i in $(seq 200); do sleep 0.02; [ -e /srv/go ] && break; touch /srv/w/probe; grep -q probe events && break; done
         sleep 0.2; kill $!; wait 2>/dev/null; inotifywait -q -m -r --format '%w%f %e' /srv/w /etc/apt >events & sleep 1; echo x >/srv/w/new; echo y >>/srv/w/old; mv /srv/w/new /srv/w/newer; rm /srv/w/old; chmod 600 /srv/w/newer
         mkdir /srv/w/d; echo z >>/etc/apt/sources.list; for i in $(seq 100); do tail -n 1 events | grep -q CLOSE_NOWRITE && break; sleep 0.05; done; sleep 0.5; kill $!; wait 2>/dev/null; cat events",
    )
    .changing_root(),
    Case::bash(
        "changes_of_lower_files",
        &["find", "sed"],
        "cd /etc; echo more >>hostname; tail -n 1 hostname; sed -i s/root/toor/ passwd; head -n 1 passwd; mv group group2; ls group; ls group2; rm -r apt; ls -d apt; mkdir apt; ls -A apt
         ln hosts /usr/share/hosts-link; stat -c %h hosts; mv /usr/share/perl5 /usr/share/perl6 2>&1 | wc -l; ls /usr/share/perl6 | md5sum; find /usr/share/perl6 -type f | wc -l; chmod 600 /usr/bin/env; stat -c %a /usr/bin/env; /usr/bin/env true; echo $?
         chown 7 shells; stat -c %u shells; truncate -s 3 networks; wc -c networks; cp -a /usr/bin/true /usr/bin/false; /usr/bin/false; echo $?; : >/usr/bin/true; /usr/bin/true; echo $?",
    )
    .changing_root()
    .within(120),
];
