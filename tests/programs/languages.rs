//! Interpreters with their libraries: Python, Perl, Node.

use crate::case::Case;

const PYTHON: &[&str] = &["python3"];
const PERL: &[&str] = &["perl"];
const NODE: &[&str] = &["node"];

/// The cases.
pub const CASES: &[Case] = &[
    Case::interpreter("python_prints", PYTHON, "-c", "print('hello', 2**100)"),
    Case::interpreter("python_exit_code", PYTHON, "-c", "import sys; sys.exit(9)"),
    Case::interpreter("python_exception", PYTHON, "-c", "raise ValueError('wrong')").with_errors(),
    Case::interpreter(
        "python_json",
        PYTHON,
        "-c",
        "import json; d = {str(i): [i, i / 2, None, True] for i in range(1000)}; s = json.dumps(d, sort_keys=True); \
         print(len(s), json.loads(s) == d)",
    ),
    Case::interpreter(
        "python_subprocess",
        PYTHON,
        "-c",
        r"
import subprocess, sys
print(subprocess.run(['echo', 'out'], capture_output=True).stdout)
print(subprocess.run('exit 3', shell=True).returncode)
print(subprocess.check_output([sys.executable, '-c', 'print(6 * 7)']))
p = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(len(p.communicate(b'x' * 1000000)[0]))
p = subprocess.Popen(['sleep', '50']); p.kill(); print(p.wait())
try: subprocess.run(['sleep', '50'], timeout=0.2)
except subprocess.TimeoutExpired: print('timeout')
try: subprocess.run(['/no/such'])
except FileNotFoundError as e: print(e)
",
    )
    .within(120),
    Case::interpreter(
        "python_drives_a_shell_in_a_terminal",
        &["python3", "bash"],
        "-c",
        r"
import os, pty, re, select, signal, time
pid, fd = pty.fork()
if pid == 0:
    os.environ['PS1'] = '# '
    os.execv('/bin/bash', ['bash', '--norc', '--noprofile', '--noediting', '-i'])
seen = b''
def until(text):
    global seen
    end = time.time() + 20
    while text not in seen:
        if not select.select([fd], [], [], max(0, end - time.time()))[0]: print('no', text, 'in', seen); os._exit(1)
        seen += os.read(fd, 65536)
    head, seen = seen.split(text, 1)
    return head
def line(text): os.write(fd, text + b'\n'); until(b'\r\n')
until(b'# ')
line(b'sleep 1000'); time.sleep(0.2); os.write(fd, b'\x1a'); until(b'Stopped'); until(b'# '); print('stopped')
line(b'jobs'); print(re.findall(rb'Stopped +(.*?)\r', until(b'# ')))
line(b'fg'); until(b'sleep 1000'); time.sleep(0.2); os.write(fd, b'\x03'); until(b'# '); print('interrupted')
line(b'echo $?'); print(until(b'# '))
line(b'sleep 1000 &'); until(b'# ')
line(b'kill %1; wait %1; echo $?'); print(b'143' in until(b'# '))
line(b'cat'); os.write(fd, b'echo\n'); until(b'echo\r\necho\r\n'); os.write(fd, b'\x04'); until(b'# '); print('end of file')
line(b'test -t 0 && [ $(tty) = /dev/pts/$(basename $(tty)) ] && echo yes'); print(b'yes' in until(b'# '))
os.write(fd, b'exit 3\n')
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
",
    )
    .within(120),
    Case::interpreter(
        "python_threading",
        PYTHON,
        "-c",
        r"
import threading, queue, concurrent.futures as f
q = queue.Queue(5); out = []
def work():
    while (i := q.get()) is not None: out.append(i * i)
ts = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in ts]
for i in range(500): q.put(i)
for _ in ts: q.put(None)
[t.join() for t in ts]
print(len(out), sum(out))
with f.ThreadPoolExecutor(4) as e: print(sum(e.map(lambda x: x * 2, range(100))))
e = threading.Event(); threading.Timer(0.05, e.set).start(); print(e.wait(5)); print(threading.active_count() >= 1)
",
    )
    .within(120),
    Case::interpreter(
        "python_tempfile",
        PYTHON,
        "-c",
        r"
import tempfile, os, shutil
with tempfile.NamedTemporaryFile() as f: f.write(b'x' * 5000); f.flush(); print(os.stat(f.name).st_size)
print(os.path.exists(f.name))
with tempfile.TemporaryDirectory() as d:
    for i in range(20): open(os.path.join(d, str(i)), 'w').write(str(i))
    print(sorted(os.listdir(d))[:3], sum(int(open(e.path).read()) for e in os.scandir(d)))
    shutil.copytree(d, 'copy'); print(len(os.listdir('copy')))
t = tempfile.TemporaryFile(); t.write(b'abc'); t.seek(1); print(t.read()); print(os.listdir('.'))
",
    ),
    Case::interpreter(
        "python_sqlite3",
        PYTHON,
        "-c",
        r"
import sqlite3
c = sqlite3.connect('db'); c.execute('create table t(a, b)')
c.executemany('insert into t values (?, ?)', ((i, str(i * 7 % 1000)) for i in range(10000))); c.commit(); c.close()
c = sqlite3.connect('db'); print(c.execute('select count(*), sum(a), max(b) from t').fetchone())
print(c.execute('select b, count(*) n from t group by b order by n desc, b limit 3').fetchall())
",
    ),
    Case::interpreter(
        "python_zlib",
        PYTHON,
        "-c",
        r"
import zlib, gzip, bz2, lzma, hashlib
d = b''.join(str(i).encode() for i in range(100000))
print(len(zlib.compress(d)), zlib.crc32(d), zlib.adler32(d))
for m in zlib, gzip, bz2, lzma: print(m.__name__, m.decompress(m.compress(d)) == d)
print(hashlib.sha256(d).hexdigest(), hashlib.blake2b(d).hexdigest()[:20])
",
    )
    .within(120),
    Case::interpreter(
        "python_multiprocessing",
        PYTHON,
        "-c",
        r"
import multiprocessing as m
def f(x): return x * x
if __name__ == '__main__':
    c = m.get_context('fork')
    with c.Pool(4) as p: print(sum(p.map(f, range(200))))
    q = c.Queue(); p = c.Process(target=q.put, args=('from a child',)); p.start(); print(q.get()); p.join(); print(p.exitcode)
    v = c.Value('i', 0)
    def add():
        for _ in range(100):
            with v.get_lock(): v.value += 1
    ps = [c.Process(target=add) for _ in range(4)]; [p.start() for p in ps]; [p.join() for p in ps]; print(v.value)
",
    )
    .within(120),
    Case::interpreter(
        "python_os_calls",
        PYTHON,
        "-c",
        r"
import os, signal, time, mmap, fcntl, select, resource, stat
r, w = os.pipe(); pid = os.fork()
if pid == 0: os.write(w, b'child'); os._exit(5)
print(os.read(r, 10), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
hits = []; signal.signal(signal.SIGALRM, lambda *a: hits.append(a[0])); signal.setitimer(signal.ITIMER_REAL, 0.05)
while not hits: time.sleep(0.01)
print(hits[:1]); fd = os.open('f', os.O_RDWR | os.O_CREAT); os.truncate('f', 8192); m = mmap.mmap(fd, 8192); m[0:5] = b'hello'
print(os.pread(fd, 5, 0)); fcntl.flock(fd, fcntl.LOCK_EX); p = select.poll(); p.register(r, select.POLLIN); print(p.poll(0))
print(stat.filemode(os.stat('f').st_mode), os.umask(0o22), os.getcwd(), os.path.realpath('/proc/self/cwd'))
print(os.getpgid(0) == os.getpgrp(), os.access('/root', os.R_OK), os.sysconf('SC_PAGESIZE'), len(os.urandom(16)))
e = select.epoll(); e.register(r, select.EPOLLIN); os.write(w, b'x'); print(len(e.poll(1))); print(os.get_inheritable(r))
",
    ),
    Case::interpreter(
        "python_asyncio",
        PYTHON,
        "-c",
        r"
import asyncio
async def f(i): await asyncio.sleep(0.001 * (i % 5)); return i
async def main():
    print(sum(await asyncio.gather(*(f(i) for i in range(200)))))
    p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
    print((await p.communicate(b'through cat'))[0], p.returncode)
    try: await asyncio.wait_for(asyncio.sleep(5), 0.05)
    except asyncio.TimeoutError: print('timeout')
asyncio.run(main())
",
    )
    .within(120),
    Case::interpreter("python_squares", PYTHON, "-c", "print(sum(i * i for i in range(1000000)))").within(120),
    Case::interpreter("python_standard_library_imports", PYTHON, "-c", "import argparse, collections, csv, ctypes, datetime, decimal, email, fractions, http.client, inspect, logging, pickle, random, re, socket, ssl, statistics, unittest, urllib.request, uuid, xml.etree.ElementTree, zipfile; print(decimal.Decimal(1) / 7, fractions.Fraction(3, 9), ctypes.sizeof(ctypes.c_long), random.Random(5).random())").within(120),
    Case::interpreter("perl_prints", PERL, "-e", r#"print join(",", map { $_ ** 2 } 1 .. 10), "\n"; exit 3"#),
    Case::interpreter(
        "perl_fork_and_pipes",
        PERL,
        "-e",
        r#"
use strict; $| = 1; my %n;
for my $i (1 .. 20) { pipe(my $r, my $w); my $p = fork; if (!$p) { close $r; print $w "child $i\n"; exit $i } close $w; my $l = <$r>; waitpid $p, 0; $n{$?} .= $l }
print map { ($_ >> 8) . ": $n{$_}" } sort { $a <=> $b } keys %n;
open(my $f, "-|", "seq 5") or die; print "sum ", eval { my $s = 0; $s += $_ while <$f>; $s }, "\n"; close $f;
open($f, "|-", "sort -r") or die; print $f "$_\n" for 1 .. 3; close $f; print `echo back`; system "exit 7"; print $? >> 8, "\n";
"#,
    )
    .within(120),
    Case::interpreter(
        "perl_files_and_signals",
        PERL,
        "-e",
        r#"
use strict; use POSIX; use File::Temp; use File::Find; use Time::HiRes "sleep"; my $hit = 0;
$SIG{USR1} = sub { $hit++ }; kill USR1 => $$; print "hit $hit\n"; eval { local $SIG{ALRM} = sub { die "alarm\n" }; Time::HiRes::ualarm(50000); sleep 5 }; print $@;
open my $o, ">", "f" or die; print $o "line $_\n" for 1 .. 1000; close $o; print -s "f", "\n"; rename "f", "g"; print -e "f" ? "there" : "gone", "\n";
mkdir "d"; symlink "../g", "d/l"; print readlink "d/l", "\n"; my $c = 0; find(sub { $c++ }, "."); print "$c\n"; my @s = stat "g"; printf "%o %d\n", $s[2], $s[7];
print POSIX::strftime("%Y-%m-%d", gmtime 0), " ", (uname())[0], "\n"; opendir my $d, "."; print join(" ", sort readdir $d), "\n"; unlink "g"; print "$!\n" unless open my $x, "<", "g";
"#,
    ),
    Case::interpreter(
        "node_files",
        NODE,
        "-e",
        r#"
const fs = require("fs"); fs.mkdirSync("d/e", { recursive: true });
for (let i = 0; i < 50; i++) fs.writeFileSync(`d/f${i}`, String(i).repeat(100));
console.log(fs.readdirSync("d").length, fs.readFileSync("d/f7", "utf8").length, fs.statSync("d/f7").size);
try { fs.readFileSync("none") } catch (e) { console.log(e.code) }
const s = fs.createWriteStream("big"); for (let i = 0; i < 1000; i++) s.write("x".repeat(1000)); s.end(async () => { console.log(fs.statSync("big").size); console.log((await fs.promises.readFile("d/f9")).length);
fs.rmSync("d", { recursive: true }); console.log(fs.existsSync("d")); });
"#,
    )
    .within(120),
    Case::interpreter(
        "node_child_processes",
        NODE,
        "-e",
        r#"
const c = require("child_process"); console.log(c.execSync("echo sync").toString().trim(), c.spawnSync("sh", ["-c", "exit 5"]).status);
const p = c.spawn("cat"); let n = 0; p.stdout.on("data", d => n += d.length); p.on("close", (code, s) => { console.log(n, code, s);
const k = c.spawn("sleep", ["50"]); k.on("exit", (code, s) => { console.log(code, s); process.exitCode = 4; }); k.kill(); });
p.stdin.write("y".repeat(200000)); p.stdin.end();
"#,
    )
    .within(120),
    Case::interpreter(
        "node_worker_threads",
        NODE,
        "-e",
        r#"
const { Worker } = require("worker_threads"); let left = 3, sum = 0; const shared = new SharedArrayBuffer(4);
for (let i = 0; i < 3; i++) { const w = new Worker(`const { parentPort, workerData } = require("worker_threads"); let s = 0; for (let i = 0; i < 1e6; i++) s += i % (workerData.i + 2); Atomics.add(new Int32Array(workerData.shared), 0, 5); parentPort.postMessage(s);`, { eval: true, workerData: { i, shared } });
w.on("message", m => sum += m); w.on("exit", c => { if (--left == 0) console.log(sum, new Int32Array(shared)[0], c) }); }
"#,
    )
    .within(180),
    Case::interpreter(
        "node_timers_and_compression",
        NODE,
        "-e",
        r#"
const z = require("zlib"), h = require("crypto"); const b = Buffer.from("abc".repeat(100000)); const g = z.gzipSync(b); console.log(z.gunzipSync(g).equals(b), h.createHash("sha256").update(b).digest("hex"));
const order = []; setTimeout(() => order.push("t20"), 20); setTimeout(() => order.push("t1"), 1); setImmediate(() => order.push("i")); process.nextTick(() => order.push("n")); Promise.resolve().then(() => order.push("p"));
setTimeout(() => { order.sort(); console.log(order.join()); console.log(process.platform, process.uptime() > 0, JSON.stringify(process.memoryUsage().rss > 0)) }, 60); h.pbkdf2("a", "b", 1000, 32, "sha256", (e, k) => console.log(k.toString("hex")));
"#,
    )
    .within(120),
];
