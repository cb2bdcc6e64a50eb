use super::*;

fn set(namespace: &IpcNamespace, count: usize) -> Arc<SemaphoreSet> {
    let permissions = Permissions::new(0, 0o600, 0, &Credentials::root(), &Default::default());
    Arc::new(SemaphoreSet::new(namespace, 0, permissions, count).unwrap())
}

fn operation(list: &[(u16, i16, u16)], undo: Option<&UndoList>, pid: i32) -> Arc<PendingOperation> {
    let operations =
        list.iter().map(|&(sem_num, sem_op, sem_flg)| Sembuf { sem_num, sem_op, sem_flg }).collect();
    Arc::new(PendingOperation::new(operations, undo, pid, &Arc::new(Parker::new())))
}

#[test]
fn all_or_nothing_and_the_first_that_fits_goes_on() {
    let namespace = IpcNamespace::new(1 << 20);
    let (set, root) = (set(&namespace, 2), Credentials::root());
    let operate = |operation: &Arc<PendingOperation>| set.operate(&namespace, &root, operation, None);
    let both = operation(&[(0, 1, 0), (1, -1, 0)], None, 1);
    assert_eq!(operate(&both), Ok(Applied::Queued));
    assert_eq!(set.values(&root), Ok(vec![0, 0]));
    assert_eq!((set.waiters(&root, 1, false), set.waiters(&root, 0, false)), (Ok(1), Ok(0)));
    let two = operation(&[(0, -2, 0)], None, 2);
    assert_eq!(operate(&two), Ok(Applied::Queued));
    let one = operation(&[(0, -1, 0)], None, 3);
    assert_eq!(operate(&one), Ok(Applied::Queued));
    assert_eq!(operate(&operation(&[(1, 1, 0)], None, 4)), Ok(Applied::Done));
    assert_eq!((both.result(), one.result(), two.result()), (Some(Ok(())), Some(Ok(())), None));
    assert_eq!(set.last_process(&root, 0), Ok(3));
    assert_eq!(set.abandon(&two, Errno::EINTR), Err(Errno::EINTR));
    assert_eq!(operate(&operation(&[(0, -1, 0o4000)], None, 4)), Err(Errno::EAGAIN));
    assert_eq!(operate(&operation(&[(2, 1, 0)], None, 4)), Err(Errno::EFBIG));
}

#[test]
fn adjustments_are_undone_within_bounds() {
    let namespace = IpcNamespace::new(1 << 20);
    let (set, root) = (set(&namespace, 1), Credentials::root());
    let list = namespace.new_undo_list();
    let undo = SemopFlags::SEM_UNDO.bits();
    let five = operation(&[(0, 5, undo)], Some(&list), 1);
    assert_eq!(set.operate(&namespace, &root, &five, Some(&list)), Ok(Applied::Done));
    let back = operation(&[(0, -3, 0)], None, 1);
    assert_eq!(set.operate(&namespace, &root, &back, None), Ok(Applied::Done));
    let zero = operation(&[(0, 0, 0)], None, 2);
    assert_eq!(set.operate(&namespace, &root, &zero, None), Ok(Applied::Queued));
    set.undo(list.id(), 9);
    assert_eq!((set.value(&root, 0), zero.result()), (Ok(0), Some(Ok(()))));
    let many = operation(&[(0, 32_767, undo), (0, 1, undo)], Some(&list), 1);
    assert_eq!(set.operate(&namespace, &root, &many, Some(&list)), Err(Errno::ERANGE));
    assert_eq!(set.value(&root, 0), Ok(0));
}

#[test]
fn removal_ends_waiting_and_memory_is_accounted_for() {
    let namespace = IpcNamespace::new(100);
    let root = Credentials::root();
    assert!(
        SemaphoreSet::new(&namespace, 0, Permissions::new(0, 0, 0, &root, &Default::default()), 7).is_err()
    );
    let request = crate::kernel::sysv::GetRequest {
        key: 0,
        flags: bartizan_abi::ipc::IpcFlags::from_bits_retain(0o600),
        credentials: &root,
        limit: 1,
    };
    let make = |id, permissions| SemaphoreSet::new(&namespace, id, permissions, 1).map(Arc::new);
    let id = namespace.semaphores.get(&request, |_| Ok(()), make).unwrap();
    let set = namespace.semaphores.find(id).unwrap();
    let wait = operation(&[(0, -1, 0)], None, 1);
    assert_eq!(set.operate(&namespace, &root, &wait, None), Ok(Applied::Queued));
    assert_eq!(set.remove(&namespace, &root), Ok(()));
    assert_eq!(wait.result(), Some(Err(Errno::EIDRM)));
    assert_eq!(set.remove(&namespace, &root), Err(Errno::EIDRM));
}
