/* System V IPC: semaphores, message queues, shared memory. */
#include "check.h"
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
    struct seminfo *info;
};

static int op(int id, int number, int change, int flags)
{
    struct sembuf one = { (unsigned short)number, (short)change, (short)flags };
    return semop(id, &one, 1);
}

/* Waits until so many operations wait for a semaphore. */
static void wait_for_waiters(int id, int number, int command, int count)
{
    for (int i = 0; i < 2000 && semctl(id, number, command) < count; i++)
        sleep_ms(1);
}

static void sem_get(void)
{
    say("missing: %s", err(semget(0x1234, 1, 0600)));
    say("none: %s", err(semget(0x1234, 0, 0600 | IPC_CREAT)));
    say("too many: %s", err(semget(0x1234, 32001, 0600 | IPC_CREAT)));
    say("negative: %s", err(semget(0x1234, -1, 0600 | IPC_CREAT)));
    int id = (int)MUST(semget(0x1234, 3, 0640 | IPC_CREAT));
    say("id %d, again %d", id, semget(0x1234, 0, 0));
    say("exclusive: %s", err(semget(0x1234, 3, 0600 | IPC_CREAT | IPC_EXCL)));
    say("larger: %s", err(semget(0x1234, 4, 0600)));
    int other = semget(IPC_PRIVATE, 1, 0600);
    say("private %d", other);
    struct semid_ds ds;
    memset(&ds, 0xff, sizeof(ds));
    MUST(semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds }));
    say("key %#x uid %u gid %u mode %o seq %u nsems %lu otime %d ctime %d", (unsigned)ds.sem_perm.__key, ds.sem_perm.uid,
        ds.sem_perm.gid, ds.sem_perm.mode, ds.sem_perm.__seq, (unsigned long)ds.sem_nsems, ds.sem_otime != 0,
        labs(ds.sem_ctime - time(0)) < 5);
    ds.sem_perm.mode = 0604;
    ds.sem_perm.uid = 77;
    MUST(semctl(id, 0, IPC_SET, (union semun){ .buf = &ds }));
    MUST(semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds }));
    say("set: uid %u cuid %u mode %o", ds.sem_perm.uid, ds.sem_perm.cuid, ds.sem_perm.mode);
    struct seminfo info;
    say("info %d", semctl(0, 0, IPC_INFO, (union semun){ .info = &info }));
    say("%d %d %d %d %d %d %d %d %d %d", info.semmap, info.semmni, info.semmns, info.semmnu, info.semmsl, info.semopm,
        info.semume, info.semusz, info.semvmx, info.semaem);
    say("info %d", semctl(0, 0, SEM_INFO, (union semun){ .info = &info }));
    say("used %d %d", info.semusz, info.semaem);
    say("stat %d", semctl(1, 0, SEM_STAT, (union semun){ .buf = &ds }));
    say("stat any %d", semctl(0, 0, SEM_STAT_ANY, (union semun){ .buf = &ds }));
    say("stat beyond: %s", err(semctl(7, 0, SEM_STAT, (union semun){ .buf = &ds })));
    say("bad command: %s", err(semctl(id, 0, 99)));
    say("bad id: %s %s", err(semctl(-1, 0, GETVAL)), err(semctl(999, 0, GETVAL)));
    say("bad pointer: %s", err(semctl(id, 0, IPC_STAT, (union semun){ .buf = (void *)8 })));
    say("remove: %s", err(semctl(id, 0, IPC_RMID)));
    say("again: %s", err(semctl(id, 0, IPC_RMID)));
    MUST(semctl(other, 0, IPC_RMID));
    id = (int)MUST(semget(0x1234, 3, 0640 | IPC_CREAT));
    say("a new id %d", id);
    MUST(semctl(id, 0, IPC_RMID));
}

static void sem_values(void)
{
    int id = (int)MUST(semget(IPC_PRIVATE, 4, 0600));
    unsigned short values[4] = { 1, 2, 3, 4 };
    say("set all: %s", err(semctl(id, 0, SETALL, (union semun){ .array = values })));
    say("set one: %s", err(semctl(id, 2, SETVAL, (union semun){ .val = 30 })));
    memset(values, 0, sizeof(values));
    MUST(semctl(id, 0, GETALL, (union semun){ .array = values }));
    say("all: %d %d %d %d, one: %d", values[0], values[1], values[2], values[3], semctl(id, 3, GETVAL));
    say("out of range: %s %s %s", err(semctl(id, 4, GETVAL)), err(semctl(id, -1, GETVAL)),
        err(semctl(id, 4, SETVAL, (union semun){ .val = 3 })));
    say("too large: %s %s", err(semctl(id, 0, SETVAL, (union semun){ .val = 32768 })),
        err(semctl(id, 0, SETVAL, (union semun){ .val = -1 })));
    values[1] = 40000;
    say("too large of all: %s", err(semctl(id, 0, SETALL, (union semun){ .array = values })));
    say("pid is mine: %d", semctl(id, 1, GETPID) == getpid());
    struct sembuf several[3] = { { 0, 5, 0 }, { 1, -2, IPC_NOWAIT }, { 3, -9, IPC_NOWAIT } };
    say("all or nothing: %s", err(semop(id, several, 3)));
    say("values: %d %d %d", semctl(id, 0, GETVAL), semctl(id, 1, GETVAL), semctl(id, 3, GETVAL));
    say("two: %s", err(semop(id, several, 2)));
    say("values: %d %d", semctl(id, 0, GETVAL), semctl(id, 1, GETVAL));
    say("zero: %s", err(op(id, 1, 0, 0)));
    say("not zero: %s", err(op(id, 0, 0, IPC_NOWAIT)));
    say("too high: %s", err(op(id, 0, 32767, 0)));
    say("no such semaphore: %s", err(op(id, 4, 1, 0)));
    say("no operations: %s", err(semop(id, several, 0)));
    say("too many operations: %s", err(semop(id, several, 501)));
    say("bad pointer: %s", err(semop(id, (void *)8, 1)));
    say("same semaphore twice: %s", err(semop(id, (struct sembuf[]){ { 1, 1, 0 }, { 1, -1, 0 }, { 1, 0, 0 } }, 3)));
    struct timespec bad = { 0, 1000000000 }, soon = { 0, 20000000 }, now = { 0, 0 };
    struct sembuf down = { 1, -1, 0 };
    say("bad time: %s", err(semtimedop(id, &down, 1, &bad)));
    long start = now_ms();
    say("time-out: %s", err(semtimedop(id, &down, 1, &soon)));
    say("took long enough: %d", now_ms() - start >= 20);
    say("no time: %s", err(semtimedop(id, &down, 1, &now)));
    MUST(semctl(id, 0, IPC_RMID));
    say("gone: %s", err(op(id, 0, 1, 0)));
}

static void sem_blocking(void)
{
    int id = (int)MUST(semget(IPC_PRIVATE, 2, 0600));
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(op(id, 0, -(i + 1), 0) ? errno : 0);
        wait_for_waiters(id, 0, GETNCNT, i + 1);
    }
    say("waiting: %d %d", semctl(id, 0, GETNCNT), semctl(id, 0, GETZCNT));
    op(id, 0, 2, 0);
    say("first: %s", reap(children[0]));
    say("value: %d, pid of the child: %d", semctl(id, 0, GETVAL), semctl(id, 0, GETPID) == children[0]);
    op(id, 0, 2, 0);
    say("second: %s", reap(children[1]));
    say("waiting: %d", semctl(id, 0, GETNCNT));
    pid_t zero = fork();
    if (zero == 0)
        _exit(op(id, 1, 0, 0) ? errno : 0);
    say("no wait for what is zero: %s", reap(zero));
    op(id, 1, 1, 0);
    zero = fork();
    if (zero == 0)
        _exit(op(id, 1, 0, 0) ? errno : 0);
    wait_for_waiters(id, 1, GETZCNT, 1);
    say("waiting for zero: %d", semctl(id, 1, GETZCNT));
    op(id, 1, -1, 0);
    say("zero: %s", reap(zero));
    MUST(semctl(id, 0, IPC_RMID));
    say("third gets EIDRM: %d", strcmp(reap(children[2]), status_text(EIDRM << 8)) == 0);
}

static void on_signal(int signal)
{
    (void)signal;
}

static void sem_interrupted(void)
{
    int id = (int)MUST(semget(IPC_PRIVATE, 1, 0600));
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &action, 0);
    pid_t child = fork();
    if (child == 0) {
        say("interrupted: %s", err(op(id, 0, -1, 0)));
        say("waiting afterwards: %d", semctl(id, 0, GETNCNT));
        _exit(0);
    }
    wait_for_waiters(id, 0, GETNCNT, 1);
    kill(child, SIGUSR1);
    reap(child);
    MUST(semctl(id, 0, IPC_RMID));
}

static void *undo_thread(void *argument)
{
    op(*(int *)argument, 0, -1, SEM_UNDO);
    return 0;
}


static void sem_undo(void)
{
    int id = (int)MUST(semget(IPC_PRIVATE, 2, 0600));
    MUST(semctl(id, 0, SETVAL, (union semun){ .val = 5 }));
    pid_t child = fork();
    if (child == 0) {
        op(id, 0, -3, SEM_UNDO);
        op(id, 1, 2, SEM_UNDO);
        say("inside: %d %d", semctl(id, 0, GETVAL), semctl(id, 1, GETVAL));
        say("beyond: %s", err(semop(id, (struct sembuf[]){ { 0, 32765, 0 }, { 0, -32766, SEM_UNDO } }, 2)));
        pid_t grandchild = fork();
        if (grandchild == 0)
            _exit(0);
        reap(grandchild);
        say("a child has none: %d", semctl(id, 0, GETVAL));
        _exit(0);
    }
    reap(child);
    say("undone: %d %d by the child: %d", semctl(id, 0, GETVAL), semctl(id, 1, GETVAL), semctl(id, 0, GETPID) == child);
    child = fork();
    if (child == 0) {
        op(id, 0, -3, SEM_UNDO);
        raise(SIGKILL);
    }
    reap(child);
    say("killed: %d", semctl(id, 0, GETVAL));
    child = fork();
    if (child == 0) {
        op(id, 0, -3, SEM_UNDO);
        MUST(semctl(id, 0, SETVAL, (union semun){ .val = 9 }));
        _exit(0);
    }
    reap(child);
    say("set: %d", semctl(id, 0, GETVAL));
    child = fork();
    if (child == 0) {
        op(id, 0, 4, SEM_UNDO);
        op(id, 0, -10, 0);
        _exit(0);
    }
    reap(child);
    say("never below zero: %d", semctl(id, 0, GETVAL));
    MUST(semctl(id, 0, SETVAL, (union semun){ .val = 5 }));
    child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, 0, undo_thread, &id);
        pthread_join(thread, 0);
        say("threads share it: %d", semctl(id, 0, GETVAL));
        op(id, 0, -1, SEM_UNDO);
        say("and after: %d", semctl(id, 0, GETVAL));
        execl("/bin/sh", "sh", "-c", "exit 3", (char *)0);
    }
    say("%s", reap(child));
    say("undone: %d", semctl(id, 0, GETVAL));
    child = fork();
    if (child == 0) {
        op(id, 1, 1, SEM_UNDO);
        pid_t waiter = fork();
        if (waiter == 0) {
            say("woken by undo: %s", err(op(id, 1, 0, 0)));
            _exit(0);
        }
        wait_for_waiters(id, 1, GETZCNT, 1);
        _exit(0);
    }
    reap(child);
    wait_for_waiters(id, 1, GETZCNT, 0);
    sleep_ms(100);
    MUST(semctl(id, 0, IPC_RMID));
}

static void permissions(void)
{
    int sem = (int)MUST(semget(0x77, 1, 0640 | IPC_CREAT));
    int msg = (int)MUST(msgget(0x77, 0620 | IPC_CREAT));
    int shm = (int)MUST(shmget(0x77, 100, 0604 | IPC_CREAT));
    pid_t child = fork();
    if (child == 0) {
        MUST(setresgid(1000, 1000, 1000));
        MUST(setresuid(1000, 1000, 1000));
        say("get: %s %s %s", err(semget(0x77, 1, 0)), err(semget(0x77, 1, 04)), err(semget(0x77, 1, 0400)));
        say("sem: %s %s %s", err(semctl(sem, 0, GETVAL)), err(op(sem, 0, 1, 0)), err(semctl(sem, 0, IPC_RMID)));
        struct semid_ds ds;
        say("stat: %s %s", err(semctl(sem, 0, IPC_STAT, (union semun){ .buf = &ds })),
            err(semctl(sem, 0, SEM_STAT_ANY, (union semun){ .buf = &ds })));
        struct { long type; char text[8]; } message = { 1, "x" };
        say("msg: %s %s %s", err(msgsnd(msg, &message, 1, IPC_NOWAIT)), err(msgrcv(msg, &message, 8, 0, IPC_NOWAIT)),
            err(msgctl(msg, IPC_RMID, 0)));
        void *at = shmat(shm, 0, SHM_RDONLY);
        say("shm: %s %s", err(at == (void *)-1 ? -1 : 0), err((long)shmat(shm, 0, 0) == -1 ? -1 : 0));
        say("exec: %s", err((long)shmat(shm, 0, SHM_RDONLY | SHM_EXEC) == -1 ? -1 : 0));
        say("remove: %s", err(shmctl(shm, IPC_RMID, 0)));
        say("lock: %s", err(shmctl(shm, SHM_LOCK, 0)));
        _exit(0);
    }
    reap(child);
    semctl(sem, 0, IPC_RMID);
    msgctl(msg, IPC_RMID, 0);
    shmctl(shm, IPC_RMID, 0);
}

struct message {
    long type;
    char text[9000];
};

static struct message message;

static int put_message(int id, long type, const char *text, int flags)
{
    message.type = type;
    strcpy(message.text, text);
    return msgsnd(id, &message, strlen(text), flags);
}

static const char *take(int id, long type, int flags)
{
    static char line[256];
    memset(&message, 0, sizeof(message));
    ssize_t got = msgrcv(id, &message, 100, type, flags);
    if (got < 0)
        return err(-1);
    snprintf(line, sizeof(line), "%ld:%.*s", message.type, (int)got, message.text);
    return line;
}

static void messages(void)
{
    int id = (int)MUST(msgget(0x99, 0600 | IPC_CREAT));
    say("id %d, again %d", id, msgget(0x99, 0));
    say("empty: %s", take(id, 0, IPC_NOWAIT));
    say("bad type: %s %s", err(put_message(id, 0, "x", 0)), err(put_message(id, -1, "x", 0)));
    say("too long: %s %s", err(msgsnd(id, &message, 8193, 0)), err(msgsnd(id, &message, (size_t)-1, 0)));
    say("bad id: %s %s", err(put_message(-1, 1, "x", 0)), err(put_message(77, 1, "x", 0)));
    say("bad pointer: %s", err(msgsnd(id, (void *)8, 1, 0)));
    put_message(id, 5, "five", 0);
    put_message(id, 3, "three", 0);
    put_message(id, 3, "three again", 0);
    put_message(id, 7, "seven", 0);
    put_message(id, 1, "", 0);
    struct msqid_ds ds;
    memset(&ds, 0xff, sizeof(ds));
    MUST(msgctl(id, IPC_STAT, &ds));
    say("qnum %lu cbytes %lu qbytes %lu lspid %d lrpid %d stime %d rtime %d mode %o", ds.msg_qnum, ds.__msg_cbytes,
        ds.msg_qbytes, ds.msg_lspid == getpid(), ds.msg_lrpid, ds.msg_stime != 0, ds.msg_rtime != 0, ds.msg_perm.mode);
    say("too small: %s", err(msgrcv(id, &message, 2, 5, 0)));
    say("copy: %s", take(id, 3, MSG_COPY | IPC_NOWAIT));
    say("copy of none: %s", take(id, 9, MSG_COPY | IPC_NOWAIT));
    say("copy and wait: %s", take(id, 0, MSG_COPY));
    say("copy that does not fit: %s", err(msgrcv(id, &message, 2, 0, MSG_COPY | IPC_NOWAIT)));
    say("and is cut: %s", err(msgrcv(id, &message, 2, 0, MSG_COPY | IPC_NOWAIT | MSG_NOERROR)));
    say("of type 7: %s", take(id, 7, 0));
    say("up to 4: %s", take(id, -4, 0));
    say("but 3: %s", take(id, 5, MSG_EXCEPT));
    say("cut: %ld", (long)msgrcv(id, &message, 2, 5, MSG_NOERROR));
    say("any: %s", take(id, 0, 0));
    say("none: %s %s", take(id, 0, IPC_NOWAIT), take(id, 8, IPC_NOWAIT));
    MUST(msgctl(id, IPC_STAT, &ds));
    say("qnum %lu cbytes %lu lrpid %d rtime %d", ds.msg_qnum, ds.__msg_cbytes, ds.msg_lrpid == getpid(), ds.msg_rtime != 0);
    int sent = 0;
    message.type = 1;
    while (msgsnd(id, &message, 8000, IPC_NOWAIT) == 0)
        sent++;
    say("room for %d, then %s", sent, err(-1));
    ds.msg_qbytes = 16010;
    say("less room: %s", err(msgctl(id, IPC_SET, &ds)));
    say("ten more: %s", err(msgsnd(id, &message, 10, IPC_NOWAIT)));
    say("eleven: %s", err(msgsnd(id, &message, 1, IPC_NOWAIT)));
    struct msginfo info;
    memset(&info, 0, sizeof(info));
    say("info %d", msgctl(0, IPC_INFO, (void *)&info));
    say("%d %d %d %d %d %d %d %u", info.msgpool, info.msgmap, info.msgmax, info.msgmnb, info.msgmni, info.msgssz,
        info.msgtql, info.msgseg);
    MUST(msgctl(0, MSG_INFO, (void *)&info));
    say("used %d %d %d", info.msgpool, info.msgmap, info.msgtql);
    say("stat %d", msgctl(id, MSG_STAT, &ds));
    say("remove: %s", err(msgctl(id, IPC_RMID, 0)));
    say("then %s", take(id, 0, 0));
}

static void message_blocking(void)
{
    int id = (int)MUST(msgget(IPC_PRIVATE, 0600));
    pid_t receiver = fork();
    if (receiver == 0) {
        say("received %s", take(id, 4, 0));
        _exit(0);
    }
    sleep_ms(50);
    put_message(id, 3, "not this", 0);
    put_message(id, 4, "this", 0);
    reap(receiver);
    say("left %s", take(id, 0, IPC_NOWAIT));
    receiver = fork();
    if (receiver == 0) {
        say("too long for the one that waits: %s", err(msgrcv(id, &message, 2, 0, 0)));
        _exit(0);
    }
    sleep_ms(50);
    put_message(id, 1, "long", 0);
    reap(receiver);
    say("left %s", take(id, 0, IPC_NOWAIT));
    message.type = 1;
    while (msgsnd(id, &message, 4000, IPC_NOWAIT) == 0) {
    }
    pid_t sender = fork();
    if (sender == 0) {
        say("sent in the end: %s", err(msgsnd(id, &message, 4000, 0)));
        _exit(0);
    }
    sleep_ms(50);
    MUST(msgrcv(id, &message, 8000, 0, 0));
    reap(sender);
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigaction(SIGUSR1, &action, 0);
    sender = fork();
    if (sender == 0) {
        say("send interrupted: %s", err(msgsnd(id, &message, 4000, 0)));
        say("receive interrupted: %s", take(id, 99, 0));
        say("removed meanwhile: %s", take(id, 99, 0));
        _exit(0);
    }
    sleep_ms(50);
    kill(sender, SIGUSR1);
    sleep_ms(50);
    kill(sender, SIGUSR1);
    sleep_ms(50);
    MUST(msgctl(id, IPC_RMID, 0));
    reap(sender);
}

static void shared_memory(void)
{
    say("missing: %s", err(shmget(0x55, 4096, 0)));
    say("no size: %s", err(shmget(0x55, 0, IPC_CREAT | 0600)));
    int id = (int)MUST(shmget(0x55, 10000, IPC_CREAT | 0600));
    say("id %d, smaller %d, larger: %s", id, shmget(0x55, 1, 0), err(shmget(0x55, 10001, 0)));
    char *one = shmat(id, 0, 0);
    char *two = shmat(id, 0, SHM_RDONLY);
    strcpy(one, "hello");
    one[9000] = 'x';
    say("seen: %s %c", two, two[9000]);
    struct shmid_ds ds;
    memset(&ds, 0xff, sizeof(ds));
    MUST(shmctl(id, IPC_STAT, &ds));
    say("size %lu nattch %lu cpid %d lpid %d mode %o atime %d dtime %d ctime %d", (unsigned long)ds.shm_segsz, (unsigned long)ds.shm_nattch,
        ds.shm_cpid == getpid(), ds.shm_lpid == getpid(), ds.shm_perm.mode, ds.shm_atime != 0, ds.shm_dtime != 0,
        ds.shm_ctime != 0);
    say("write protection: %s", err(mprotect(two, 4096, PROT_READ | PROT_WRITE)));
    pid_t child = fork();
    if (child == 0) {
        MUST(shmctl(id, IPC_STAT, &ds));
        say("in a child: %lu", (unsigned long)ds.shm_nattch);
        one[1] = 'a';
        say("detach: %s", err(shmdt(one)));
        say("twice: %s", err(shmdt(one)));
        MUST(shmctl(id, IPC_STAT, &ds));
        say("in a child: %lu lpid %d", (unsigned long)ds.shm_nattch, ds.shm_lpid == getpid());
        two[0] = 'x';
        _exit(0);
    }
    say("a write to the protected one: %s", reap(child));
    MUST(shmctl(id, IPC_STAT, &ds));
    say("after its end: %lu %s lpid is the child's: %d", (unsigned long)ds.shm_nattch, one, ds.shm_lpid == child);
    child = fork();
    if (child == 0)
        execl("/bin/sh", "sh", "-c", "exit 0", (char *)0);
    reap(child);
    MUST(shmctl(id, IPC_STAT, &ds));
    say("after exec: %lu", (unsigned long)ds.shm_nattch);
    say("bad address: %s %s", err(shmdt(one + 1)), err(shmdt(one + 4096)));
    say("attach to a used place: %s", err((long)shmat(id, two, 0) == -1 ? -1 : 0));
    say("attach unaligned: %s", err((long)shmat(id, two + 1, 0) == -1 ? -1 : 0));
    say("remap of nothing: %s", err((long)shmat(id, 0, SHM_REMAP) == -1 ? -1 : 0));
    say("remap: %d", shmat(id, two + 5, SHM_REMAP | SHM_RND) == two);
    two[2] = 'y';
    say("seen: %s", one);
    MUST(shmctl(id, IPC_STAT, &ds));
    say("nattch %lu", (unsigned long)ds.shm_nattch);
    MUST(munmap(two + 4096, 4096));
    MUST(shmctl(id, IPC_STAT, &ds));
    say("with a hole: %lu", (unsigned long)ds.shm_nattch);
    say("detach both parts: %s", err(shmdt(two)));
    MUST(shmctl(id, IPC_STAT, &ds));
    say("nattch %lu", (unsigned long)ds.shm_nattch);
    struct shminfo limits;
    say("info %d", shmctl(0, IPC_INFO, (void *)&limits));
    say("%lu %lu %lu %lu %lu", limits.shmmax, limits.shmmin, limits.shmmni, limits.shmseg, limits.shmall);
    struct shm_info info;
    say("info %d", shmctl(0, SHM_INFO, (void *)&info));
    say("used %d tot %lu", info.used_ids, info.shm_tot);
    say("lock: %s", err(shmctl(id, SHM_LOCK, 0)));
    MUST(shmctl(id, IPC_STAT, &ds));
    say("mode %o", ds.shm_perm.mode);
    say("unlock: %s", err(shmctl(id, SHM_UNLOCK, 0)));
    say("remove: %s", err(shmctl(id, IPC_RMID, 0)));
    MUST(shmctl(id, IPC_STAT, &ds));
    say("mode %o key %d nattch %lu", ds.shm_perm.mode, ds.shm_perm.__key, (unsigned long)ds.shm_nattch);
    say("by key: %s", err(shmget(0x55, 1, 0)));
    two = shmat(id, 0, 0);
    say("by id: %s", two);
    say("detach: %s %s", err(shmdt(one)), err(shmdt(two)));
    say("gone: %s", err(shmctl(id, IPC_STAT, &ds)));
}

static void names_of_segments(void)
{
    int id = (int)MUST(shmget(0xab, 4096, IPC_CREAT | 0600));
    char *at = shmat(id, 0, 0), line[256], wanted[32];
    at[0] = 1;
    snprintf(wanted, sizeof(wanted), "%lx-", (unsigned long)at);
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof(line), maps)) {
        if (strncmp(line, wanted, strlen(wanted)))
            continue;
        char *name = strchr(line, '/'), mode[8] = "";
        sscanf(line, "%*s %7s", mode);
        name[strcspn(name, "\n")] = 0;
        say("%s %s", mode, name);
    }
    MUST(shmctl(id, IPC_RMID, 0));
}

static void proc_files(void)
{
    const char *limits[] = { "sem", "msgmax", "msgmnb", "msgmni", "shmmax", "shmall", "shmmni" };
    for (size_t i = 0; i < COUNT(limits); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/sys/kernel/%s", limits[i]);
        say("%s: %s", limits[i], get(path));
    }
    int sem = (int)MUST(semget(0x10, 2, 0600 | IPC_CREAT));
    int msg = (int)MUST(msgget(0x11, 0622 | IPC_CREAT));
    int shm = (int)MUST(shmget(0x12, 5000, 0644 | IPC_CREAT));
    const char *files[] = { "sem", "msg", "shm" };
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[64], *line, *rest;
        snprintf(path, sizeof(path), "/proc/sysvipc/%s", files[i]);
        line = strtok_r((char *)get(path), "\n", &rest);
        say("%s", line);
        line = strtok_r(0, "\n", &rest);
        say("%.*s", 28, line);
        say("%zu", strlen(line));
    }
    semctl(sem, 0, IPC_RMID);
    msgctl(msg, IPC_RMID, 0);
    shmctl(shm, IPC_RMID, 0);
}

CHECK_MAIN(CASE(sem_get), CASE(sem_values), CASE(sem_blocking), CASE(sem_interrupted), CASE(sem_undo), CASE(permissions),
           CASE(messages), CASE(message_blocking), CASE(shared_memory), CASE(names_of_segments), CASE(proc_files))
