//! The root of `launcher do` under an overlay: nothing reaches the host, changes are kept where the user says, and Linux's overlayfs reads
//! what we write and we what it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bartizan_harness::{launcher, platforms, run};

const LIMIT: Duration = Duration::from_secs(60);

/// What everything in a tree looks like; directories of different file systems have different sizes.
const SHOW: &str = "find etc opt srv \\( -type d -printf '%p %y %m %U:%G %TY\\n' \\) -o -printf '%p %y %m %U:%G %s %T@ %n %l\\n' | sort; \
                    find etc opt srv -type f -size -64k | sort | xargs cat | md5sum; getfattr -R -d -m user etc opt srv 2>/dev/null | sort";

/// Changes of all kinds.
const CHANGE: &str = "rm etc/passwd; echo more >>etc/hostname; rm -r etc/apt; mkdir etc/apt; echo new >etc/apt/new; mv etc/group etc/group2; \
                      mkdir -p opt/a/b; ln -s ../target opt/a/link; ln etc/shells opt/shells; chmod 600 etc/fstab; mkfifo opt/fifo; \
                      chown 5:6 etc/issue; cp -a etc/init.d opt/; rm -r etc/init.d; truncate -s 1 etc/profile; touch -d @1000 etc/networks; \
                      mkdir srv/x; mv srv/x srv/y; rmdir srv/y; mkdir srv/z; setfattr -n user.color -v red etc/shadow; true";

/// Other changes, of a tree that the first have been made to.
const CHANGE_AGAIN: &str = "echo back >etc/passwd; rm -r etc/apt; mv etc/group2 etc/group; rm opt/shells; echo x >>etc/shells; rm -r opt/a; \
                            mkdir opt/a; touch opt/a/only; mv opt/init.d etc/; rmdir srv/z; rm etc/issue; ln -s passwd etc/issue; true";

fn scratch(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// Runs a command that must end well, and returns what it prints.
fn output(command: &mut Command) -> Result<String> {
    let outcome = run(command, b"", LIMIT)?;
    let error = String::from_utf8_lossy(&outcome.stderr);
    ensure!(!outcome.timed_out && outcome.code == 0, "{command:?} ends with {}: {error}", outcome.code);
    Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
}

/// What a script prints in a sandbox with this `--overlay`.
fn inside(overlay: &str, script: &str) -> Result<String> {
    let platform = platforms().into_iter().next().context("no platform to test")?;
    let mut command = Command::new(launcher()?);
    command.args([
        "do",
        "--platform",
        &platform,
        "--overlay",
        overlay,
        "--cwd",
        "/",
        "/bin/sh",
        "-c",
        script,
    ]);
    output(&mut command)
}

/// What a script prints in an overlay of the host's over its root, in a mount namespace of its own.
fn on_the_host(changes: &Path, script: &str) -> Result<String> {
    let place = changes.join("m");
    fs::create_dir_all(&place)?;
    let text = changes.to_str().context("a path that is no UTF-8")?;
    let mount = format!(
        "mount -t overlay -o lowerdir=/,upperdir={text}/upper,workdir={text}/work,redirect_dir=off,metacopy=off,index=off overlay {text}/m && cd {text}/m && "
    );
    output(Command::new("unshare").args(["-m", "/bin/sh", "-c", &(mount + script)]))
}

/// Whether overlays can be mounted here.
fn can_mount() -> Result<bool> {
    let changes = scratch("overlay_probe")?;
    fs::create_dir(changes.join("upper"))?;
    fs::create_dir(changes.join("work"))?;
    Ok(on_the_host(&changes, "true").is_ok())
}

#[test]
fn changes_stay_in_the_sandbox() -> Result<()> {
    let before = fs::read_to_string("/etc/hostname")?;
    let script = "touch /new && echo changed >/etc/hostname && cat /etc/hostname && rm -r /etc/apt /usr/share/doc && ls -d /etc/apt 2>&1 | wc -l";
    assert_eq!(inside("memory", script)?, "changed\n1\n");
    assert!(!Path::new("/new").exists());
    assert_eq!(fs::read_to_string("/etc/hostname")?, before);
    assert!(Path::new("/etc/apt").exists());
    Ok(())
}

#[test]
fn a_filestore_takes_much_data_and_leaves_nothing() -> Result<()> {
    let directory = scratch("overlay_store")?;
    let platform = platforms().into_iter().next().context("no platform to test")?;
    let mut command = Command::new(launcher()?);
    // More than the sandbox has memory.
    command.args(["do", "--platform", &platform, "--memory", "64m", "--overlay"]);
    command.arg(format!("store:{}", directory.display())).args(["/bin/sh", "-c"]);
    command.arg("head -c 200000000 /dev/zero | tr '\\0' x >/srv/big; wc -c </srv/big; md5sum </srv/big; ls /proc/self/fd | wc -l");
    let printed = output(&mut command)?;
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("200000000"));
    assert_eq!(lines.next(), Some("4f2a97196a0065beeb3ddb86beb4cb40  -"));
    assert_eq!(fs::read_dir(&directory)?.count(), 0);
    Ok(())
}

#[test]
fn without_an_overlay_nothing_can_be_changed() -> Result<()> {
    let script = "touch /new /etc/new 2>&1 | sed 's/.*: //'; for d in /tmp /run /dev/shm; do ls -A $d; \
                  touch $d/x && echo $d; done; rm /etc/passwd 2>&1 | sed 's/.*: //'";
    let expected =
        "Read-only file system\nRead-only file system\n/tmp\n/run\n/dev/shm\nRead-only file system\n";
    assert_eq!(inside("none", script)?, expected);
    Ok(())
}

#[test]
fn changes_in_a_directory_are_there_the_next_time() -> Result<()> {
    let directory = scratch("overlay_kept")?;
    let overlay = format!("dir:{}", directory.display());
    inside(&overlay, CHANGE)?;
    let first = inside(&overlay, SHOW)?;
    ensure!(first.contains("etc/apt/new f") && !first.contains("etc/passwd f"), "{first}");
    assert_eq!(inside(&overlay, SHOW)?, first);
    assert!(Path::new("/etc/passwd").exists());
    Ok(())
}

#[test]
fn layers_are_those_of_linux() -> Result<()> {
    if !can_mount()? {
        eprintln!("overlays cannot be mounted here: not compared");
        return Ok(());
    }
    let (ours, theirs) = (scratch("overlay_ours")?, scratch("overlay_theirs")?);
    for directory in [&ours, &theirs] {
        fs::create_dir(directory.join("upper"))?;
        fs::create_dir(directory.join("work"))?;
    }
    let overlay = |directory: &Path| format!("dir:{}", directory.display());
    // Each changes one of the trees, then the other's; after each step both read both.
    for change in [CHANGE, CHANGE_AGAIN] {
        inside(&overlay(&ours), change)?;
        on_the_host(&theirs, change)?;
        let sights = [
            inside(&overlay(&ours), SHOW)?,
            on_the_host(&ours, SHOW)?,
            inside(&overlay(&theirs), SHOW)?,
            on_the_host(&theirs, SHOW)?,
        ];
        let plain: Vec<String> = sights.iter().map(|sight| without_times(sight)).collect();
        check_same("what we wrote, seen by us and by Linux", &sights[0], &sights[1])?;
        check_same("what Linux wrote, seen by us and by Linux", &sights[2], &sights[3])?;
        check_same("what we and Linux made of the tree", &plain[0], &plain[2])?;
    }
    on_the_host(&ours, "echo again >>etc/hostname; rm etc/profile; true")?;
    inside(&overlay(&theirs), "echo again >>etc/hostname; rm etc/profile; true")?;
    for directory in [&ours, &theirs] {
        let sights = (inside(&overlay(directory), SHOW)?, on_the_host(directory, SHOW)?);
        check_same("what both wrote", &sights.0, &sights.1)?;
    }
    Ok(())
}

/// Checks that two sights are the same, and says in which lines they are not.
fn check_same(what: &str, one: &str, other: &str) -> Result<()> {
    let only = |lines: &str, others: &str| {
        let others: std::collections::HashSet<_> = others.lines().collect();
        lines.lines().filter(|line| !others.contains(line)).take(20).collect::<Vec<_>>().join("\n")
    };
    ensure!(one == other, "{what}:\n{}\nand\n{}", only(one, other), only(other, one));
    Ok(())
}

/// A sight without times and link counts, which differ from tree to tree.
fn without_times(sight: &str) -> String {
    let line = |line: &str| {
        line.split(' ')
            .enumerate()
            .filter(|(index, _)| *index != 5)
            .map(|(_, word)| word)
            .collect::<Vec<_>>()
            .join(" ")
    };
    sight.lines().map(line).collect::<Vec<_>>().join("\n")
}
