//! The tools that mount: `mount`, `umount`, `findmnt`, `mountpoint`, `unshare -m`, `pivot_root`.

use crate::case::Case;

/// What these cases need.
const NEEDS: &[&str] = &["bash", "mount", "umount", "findmnt", "mountpoint", "unshare"];

/// The cases.
pub const CASES: &[Case] = &[
    Case::bash(
        "mount_and_findmnt_show_a_tmpfs",
        NEEDS,
        "mkdir a; mount -t tmpfs -o size=1m,mode=700,nosuid,noexec src a; echo $?; stat -c '%a %h' a; \
         findmnt -n -o TARGET,SOURCE,FSTYPE,VFS-OPTIONS,PROPAGATION /tmp/a; mountpoint a; mountpoint -q a/.. ; echo $?; \
         mount -o remount,ro a; touch a/f; echo $?; findmnt -n -o VFS-OPTIONS /tmp/a; mount -o remount,rw a; touch a/f; \
         umount a; echo $?; findmnt /tmp/a; echo $?",
    )
    .with_errors(),
    Case::bash(
        "mount_errors_are_told",
        NEEDS,
        "mkdir a; mount --bind missing a; echo $?; mount -t tmpfs -o nonsense=1 x a; echo $?; mount -t tmpfs x missing; echo $?; \
         mount --move a /tmp; echo $?; umount missing; echo $?; umount a; echo $?; mount --make-shared a; echo $?; \
         mount -t tmpfs x a; cd a; umount /tmp/a; echo $?; umount -l /tmp/a; echo $?",
    )
    .with_errors(),
    Case::bash(
        "mount_propagates_among_peers_and_to_slaves",
        NEEDS,
        "mkdir a b c; mount -t tmpfs a a; mount --make-shared a; mount --bind a b; mount --bind a c; mount --make-slave c; \
         mkdir a/{x,y}; mount -t tmpfs x a/x; mount -t tmpfs y c/y; findmnt -nrR -o TARGET,PROPAGATION /tmp | sort; \
         umount b/x; findmnt -nrR -o TARGET /tmp | sort; mount --make-rprivate /tmp; mount -t tmpfs x a/x; \
         findmnt -nrR -o TARGET,PROPAGATION /tmp | sort; mount --make-unbindable a; mount --bind a b; echo $?; \
         mount --make-runbindable b; mount --rbind /tmp/b /mnt; echo $?; mount --move c a/y; findmnt -nrR -o TARGET /tmp | sort",
    )
    .with_errors(),
    Case::bash(
        "unshare_hides_mounts",
        NEEDS,
        "mkdir a b; outer=$(readlink /proc/self/ns/mnt); \
         unshare -m bash -c \"mount -t tmpfs y a; findmnt -n -o TARGET /tmp/a; touch a/inside; [ $outer = \\$(readlink /proc/self/ns/mnt) ] || echo other\"; \
         findmnt /tmp/a; ls a; mount -t tmpfs s b; mount --make-shared b; mkdir b/{x,y}; \
         unshare -m --propagation unchanged bash -c 'mount -t tmpfs x b/x'; findmnt -n -o TARGET /tmp/b/x; \
         unshare -m --propagation slave bash -c 'mount -t tmpfs y b/y; findmnt -n -o TARGET,PROPAGATION /tmp/b/y'; findmnt /tmp/b/y; \
         unshare -m --propagation shared findmnt -n -o PROPAGATION /tmp; mount | grep -c '/tmp/b'",
    ),
    Case::bash(
        "pivot_root_into_a_new_tree",
        &["bash", "mount", "umount", "unshare", "pivot_root"],
        "unshare -m bash -c 'mkdir n; mount -t tmpfs n n; mkdir n/{old,usr,proc}; \
         for d in bin lib lib64 sbin; do ln -s usr/$d n/$d; done; mount --rbind /usr n/usr; cd n; pivot_root . old; mount -t proc p /proc; \
         ls old/tmp; umount -l old; cd /; ls; ls -A old; cut -d\" \" -f4,5 /proc/self/mountinfo | grep -v /usr/; \
         pivot_root . old; echo $?; mount --make-shared /; mkdir m; mount -t tmpfs m m; mkdir m/o; pivot_root m m/o; echo $?; \
         mount --make-private /; mount --make-private m; pivot_root m m/o; echo $?; ls'; ls",
    )
    .with_errors(),
    Case::bash(
        "unshare_makes_a_user_root",
        &["bash", "unshare", "mount", "umount", "findmnt", "setpriv", "nsenter", "ipcs", "mkfifo"],
        "chmod 777 .; mkdir -m 777 m; setpriv --reuid 1000 --regid 1000 --clear-groups bash -c '\
         touch own; unshare -Urm bash -c \"id; cat /proc/self/uid_map /proc/self/setgroups; stat -c %u:%g own /; mount -t tmpfs t m; touch m/f; stat -c %u:%g m/f; findmnt -n -o TARGET,FSTYPE /tmp/m; \
         chown 1 own; touch /usr/x; umount /proc; mount --bind /usr /tmp/m; ls -d m/bin; umount m; ls m; hostname other\"; ls m; \
         unshare -U id; unshare -Uu --map-user=7 --map-group=8 bash -c \"id -u; id -g; hostname x\"; \
         unshare -Uri bash -c \"ipcmk -Q >/dev/null; ipcs -q | grep -c 0x\"; ipcs -q | grep -c 0x'; \
         mkfifo f; unshare -u bash -c 'hostname inner; echo $$ >f; read x <f' & p=$(cat f); nsenter -u -t $p hostname; hostname | grep -c inner; echo >f; wait",
    )
    .with_errors(),
    Case::bash(
        "bwrap_makes_a_root",
        &["bash", "bwrap"],
        "bwrap --unshare-user --unshare-ipc --unshare-uts --uid 5 --gid 6 --hostname box --ro-bind /usr /usr --symlink usr/lib64 /lib64 --symlink usr/lib /lib --symlink usr/bin /bin \
         --tmpfs /tmp --dev /dev --proc /proc --dir /var/x bash -c 'id -u; id -g; hostname; ls /; ls -d /var/x; touch /usr/x; echo $?; echo a >/tmp/b; cat /tmp/b; echo >/dev/null; echo $?'; ls /tmp",
    )
    .with_errors(),
    Case::bash(
        "findmnt_polls_for_changes",
        NEEDS,
        "mkdir a; (sleep 0.3; mount -t tmpfs x a; sleep 0.2; umount a) & \
         timeout 10 findmnt --poll=mount --first-only -n -o ACTION,TARGET,FSTYPE; wait; \
         grep -c tmpfs /proc/self/mountstats > /dev/null && echo stats",
    ),
    Case::busybox(
        "busybox_mounts_and_switches_roots",
        "mkdir a b; mount -t tmpfs x a && mount -o bind a b && mkdir a/d && ls b; mount -o remount,ro,bind b; touch b/f; \
         umount b && umount a; echo $?; unshare -m sh -c 'mount -t tmpfs x a; mount | grep -c /tmp/a'; mount | grep -c /tmp/a; \
         unshare -m sh -c 'mount -t tmpfs n a; mkdir a/o; cp /bin/busybox a; cd a; pivot_root . o; exec chroot . ./busybox sh -c \"/busybox umount -l /o; /busybox ls /\"'",
    ),
];
