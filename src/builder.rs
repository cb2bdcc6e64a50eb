//! Building a sandbox.

use std::io::Write;
use std::sync::Arc;

use bartizan_fsimpl::host::ImportedDescriptors;
use bartizan_fsimpl::{cgroup, dev, devpts, overlay, proc, sys, tmpfs};
use bartizan_platform::systrap::SystrapOptions;
use bartizan_sentry::kernel::{Credentials, Kernel, KernelOptions, Profiler};
use bartizan_sentry::syscalls::trace::Tracer;
use bartizan_sentry::vfs::{
    DeviceRegistry, FilesystemRoot, FollowLast, FsContext, MountFlags, MountNamespace, Openness, Parameters,
};

use crate::mount::{Mount, SMALLEST_MEMORY};
use crate::sandbox::Sandbox;
use crate::{Error, PlatformKind, Result, platforms};

/// Describes a sandbox; see [`Sandbox::builder`].
#[derive(Debug, Default)]
pub struct SandboxBuilder {
    platform: PlatformKind,
    systrap: SystrapOptions,
    root: Option<Mount>,
    mounts: Vec<(Vec<u8>, Mount)>,
    hostname: Option<Vec<u8>>,
    memory_limit: Option<u64>,
    strace: Option<Sink>,
    profiler: Option<Profiler>,
}

/// Where system calls are traced to.
struct Sink(Box<dyn Write + Send>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sink")
    }
}

impl SandboxBuilder {
    /// How guest code is run; the fastest way that works here by default.
    #[must_use]
    pub fn platform(mut self, platform: PlatformKind) -> Self {
        self.platform = platform;
        self
    }

    /// Whether [`PlatformKind::Systrap`] changes the code of guests where they make many calls, which makes those several times faster: it does by
    /// default. Guests that look can see it in their own code, unless somebody traces them.
    #[must_use]
    pub fn patch_calls(mut self, patch: bool) -> Self {
        self.systrap.patch_calls = patch;
        self
    }

    /// Whether guests that make call after call may keep two processors busy, as long as no other guest wants them: they do by default. Without it, a
    /// guest and its kernel take turns on one.
    #[must_use]
    pub fn spin(mut self, spin: bool) -> Self {
        self.systrap.spin = spin;
        self
    }

    /// What is mounted at `/`; an empty tmpfs by default. `/proc` and `/dev` are always mounted over it.
    #[must_use]
    pub fn root(mut self, root: Mount) -> Self {
        self.root = Some(root);
        self
    }

    /// Mounts `mount` at `target`, a path in the sandbox, after all that were given before. Where nothing is there yet, a directory is made if
    /// the file system around it can be changed.
    #[must_use]
    pub fn mount(mut self, target: impl AsRef<[u8]>, mount: Mount) -> Self {
        self.mounts.push((target.as_ref().to_vec(), mount));
        self
    }

    /// The host name that guests see; `bartizan` by default. What is longer than 64 bytes is cut.
    #[must_use]
    pub fn hostname(mut self, name: impl AsRef<[u8]>) -> Self {
        self.hostname = Some(name.as_ref().to_vec());
        self
    }

    /// The most memory that programs, their files in tmpfs and pipes may use, bytes; three quarters of the host's by default. Beyond it programs
    /// get `ENOMEM`, or are killed by the sandbox.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Writes a line for each system call to `sink`, in the format of `strace -f`.
    #[must_use]
    pub fn strace(mut self, sink: Box<dyn Write + Send>) -> Self {
        self.strace = Some(Sink(sink));
        self
    }

    /// Has `profiler` told what all programs spend their time on: system calls, page faults and their own code. It knows all when the sandbox is dropped.
    #[must_use]
    pub fn profile(mut self, profiler: &Profiler) -> Self {
        self.profiler = Some(profiler.clone());
        self
    }

    /// Makes the sandbox. No program runs in it yet.
    ///
    /// # Errors
    /// When the platform does not work here, a host directory cannot be served, or a mount cannot be placed.
    pub fn build(self) -> Result<Sandbox> {
        let platform = platforms::create(self.platform, self.systrap)?;
        let memory_limit = self.memory_limit.unwrap_or_else(default_memory_limit).max(SMALLEST_MEMORY);
        let kernel = Kernel::new(KernelOptions {
            platform,
            memory_limit,
            hostname: self.hostname.unwrap_or_else(|| b"bartizan".to_vec()),
            tracer: self.strace.map(|Sink(sink)| Tracer::new(sink)),
            profiler: self.profiler,
        })
        .map_err(|source| Error::Setup { what: "memory", source })?;
        let fs = file_tree(&kernel, self.root.unwrap_or_else(Mount::tmpfs), self.mounts)?;
        let imported = ImportedDescriptors::new(&kernel)
            .map_err(|errno| Error::Setup { what: "standard streams", source: errno.into() })?;
        Ok(Sandbox::new(kernel, fs, imported))
    }
}

/// Three quarters of the host's memory.
fn default_memory_limit() -> u64 {
    let system = rustix::system::sysinfo();
    let total = system.totalram.saturating_mul(u64::from(system.mem_unit));
    total / 4 * 3
}

/// The mount namespace of the sandbox, as a context at its root.
fn file_tree(kernel: &Arc<Kernel>, root: Mount, mounts: Vec<(Vec<u8>, Mount)>) -> Result<Arc<FsContext>> {
    let devices = Arc::new(DeviceRegistry::default());
    dev::register(&devices, kernel.memory());
    let memory_files = tmpfs::new(kernel, &tmpfs::Options::default())
        .map_err(|errno| Error::Setup { what: "files in memory", source: errno.into() })?;
    kernel.set_memory_files(memory_files);
    register_filesystems(kernel);
    let (source, flags) = (root.source(), root.flags());
    let namespace = MountNamespace::new(root.make(kernel, b"/")?, &source, flags, devices);
    let fs = FsContext::new(namespace)
        .ok_or_else(|| Error::Mount { target: "/".to_owned(), errno: bartizan_abi::Errno::ENOENT })?;
    let (terminals, ptmx) = devpts::new(kernel, devpts::Options::default());
    dev::set_ptmx(fs.namespace().devices(), ptmx);
    let standard = [
        (b"/proc".to_vec(), Mount::custom(proc::new)),
        (b"/dev".to_vec(), Mount::custom(devtmpfs)),
        (b"/dev/pts".to_vec(), Mount::custom(move |_: &Arc<Kernel>| Ok(terminals))),
    ];
    // A root without a place for it may do without.
    if fs.resolve(&Credentials::root(), b"/sys", FollowLast::Yes).is_ok() {
        place(kernel, &fs, b"/sys", Mount::custom(sys::new).read_only())?;
    }
    for (target, mount) in standard.into_iter().chain(mounts) {
        place(kernel, &fs, &target, mount)?;
    }
    Ok(fs)
}

/// Makes known what programs in the sandbox can mount.
fn register_filesystems(kernel: &Kernel) {
    let types = kernel.filesystem_types();
    types.register("proc", |new| proc::mount(new.kernel, new.options));
    types.register("sysfs", |new| match new.options {
        b"" => sys::new(new.kernel),
        _ => Err(bartizan_abi::Errno::EINVAL),
    });
    types.register("cgroup2", |new| match new.options {
        b"" => cgroup::new(new.kernel),
        _ => Err(bartizan_abi::Errno::EINVAL),
    });
    types.register("devtmpfs", |new| devtmpfs_with(new.kernel, new.options));
    types.register("devpts", |new| {
        let options = devpts::Options::parse_for(&new.task.user_namespace(), new.options)?;
        let (root, _ptmx) = devpts::new(new.kernel, options);
        Ok(root)
    });
    types.register("mqueue", |new| {
        let ipc = new.task.ipc();
        if !new.task.credentials().has_capability_in(bartizan_abi::Capability::CAP_SYS_ADMIN, ipc.owner()) {
            return Err(bartizan_abi::Errno::EPERM);
        }
        ipc.message_files().root(new.kernel, &ipc).ok_or(bartizan_abi::Errno::ENODEV)
    });
    types.register("overlay", overlay::mount);
    types.register("tmpfs", |new| {
        let limit = new.kernel.memory().limit();
        tmpfs::new(new.kernel, &tmpfs::Options::parse_for(&new.task.credentials(), new.options, limit)?)
    });
    for name in ["cgroup2", "devpts", "mqueue", "overlay", "tmpfs"] {
        types.open(name, Openness::Everybody);
    }
    types.open("proc", Openness::WhereVisible);
    types.open("sysfs", Openness::WhereVisible);
    describe_filesystems(kernel);
}

/// Says which options file systems take, for programs that set them one by one.
fn describe_filesystems(kernel: &Kernel) {
    let types = kernel.filesystem_types();
    for name in ["sysfs", "mqueue", "cgroup2"] {
        types.describe(name, Parameters::new(&[], &[], |_| Ok(())));
    }
    let limit = kernel.memory().limit();
    for name in ["tmpfs", "devtmpfs"] {
        let values = &["size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "huge"];
        let flags = &["inode32", "inode64", "noswap"];
        let check = move |option: &[u8]| tmpfs::Options::parse(option, limit).map(drop);
        types.describe(name, Parameters::new(values, flags, check));
    }
    let values = &[
        "lowerdir",
        "lowerdir+",
        "upperdir",
        "workdir",
        "redirect_dir",
        "index",
        "nfs_export",
        "metacopy",
        "xino",
        "uuid",
    ];
    let flags = &["userxattr", "volatile", "default_permissions"];
    types.describe("overlay", Parameters::new(values, flags, |_| Ok(())));
    let values = &["uid", "gid", "mode", "ptmxmode", "max"];
    let check = |option: &[u8]| devpts::Options::parse(option).map(drop);
    types.describe("devpts", Parameters::new(values, &["newinstance"], check));
}

/// `/dev`, with what every program expects in it.
fn devtmpfs(kernel: &Arc<Kernel>) -> std::result::Result<FilesystemRoot, bartizan_abi::Errno> {
    devtmpfs_with(kernel, b"")
}

fn devtmpfs_with(
    kernel: &Arc<Kernel>,
    options: &[u8],
) -> std::result::Result<FilesystemRoot, bartizan_abi::Errno> {
    let options = [b"mode=755,", options].concat();
    let options = tmpfs::Options::parse(&options, kernel.memory().limit())?;
    let root = tmpfs::new_named(kernel, "devtmpfs", &options)?;
    dev::populate(&root.inode)?;
    Ok(root)
}

/// Mounts `mount` at `target`.
fn place(kernel: &Arc<Kernel>, fs: &FsContext, target: &[u8], mount: Mount) -> Result<()> {
    let refused = |errno| Error::Mount { target: String::from_utf8_lossy(target).into_owned(), errno };
    let credentials = Credentials::root();
    let found = crate::files::make_directories(fs, &credentials, target).map_err(refused)?;
    let (source, flags) = (mount.source(), mount.flags());
    let root = mount.make(kernel, target)?;
    fs.namespace().mount(&found, root, &source, flags).map_err(refused)?;
    Ok(())
}

/// Flags of a mount that forbids changes, which programs cannot allow again, or of one that does not.
pub(crate) fn mount_flags(read_only: bool) -> MountFlags {
    let locked = MountFlags::READ_ONLY | MountFlags::LOCK_READ_ONLY;
    if read_only { locked | MountFlags::RELATIME } else { MountFlags::RELATIME }
}
