//! Showing profiles: as a table, and as a trace for Chrome's viewer or Perfetto (the JSON object format of Trace Event).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::histogram::{Histogram, NAMES};
use super::{Activity, Profiler, Record, Span};

impl Profiler {
    /// What all tasks that have ended did, a line for each system call, the most expensive first.
    pub fn table(&self) -> String {
        let records = self.shared.records.lock();
        let mut all: BTreeMap<Activity, Histogram> = BTreeMap::new();
        for (activity, histogram) in records.iter().flat_map(|record| &record.counts) {
            all.entry(*activity).or_default().merge(histogram);
        }
        drop(records);
        let mut rows: Vec<(Activity, Histogram)> = all.into_iter().collect();
        rows.sort_by_key(|(_, histogram)| std::cmp::Reverse(histogram.total));
        let mut text =
            format!("{:<22}{:>10}{:>12}{:>11}{:>11}", "", "count", "total ms", "mean us", "max us");
        for name in NAMES {
            let _infallible = write!(text, "{name:>9}");
        }
        text.push('\n');
        for (activity, histogram) in rows {
            let _infallible = write!(
                text,
                "{:<22}{:>10}{:>12.3}{:>11.2}{:>11.1}",
                activity.to_string(),
                histogram.count,
                histogram.total as f64 / 1e6,
                histogram.total as f64 / 1e3 / histogram.count.max(1) as f64,
                histogram.longest as f64 / 1e3,
            );
            for count in histogram.classes {
                let _infallible =
                    if count == 0 { write!(text, "{:>9}", ".") } else { write!(text, "{count:>9}") };
            }
            text.push('\n');
        }
        let dropped = self.dropped();
        if dropped > 0 {
            let _infallible =
                writeln!(text, "{dropped} spans are counted here but not in the trace: there were too many");
        }
        text
    }

    /// How many spans the trace lacks.
    pub fn dropped(&self) -> u64 {
        self.shared.records.lock().iter().map(|record| record.dropped).sum()
    }

    /// Writes what all tasks that have ended did, with its times.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn write_trace(&self, sink: &mut dyn Write) -> io::Result<()> {
        let records = self.shared.records.lock();
        write!(sink, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        let mut separator = "";
        for record in records.iter() {
            write!(
                sink,
                "{separator}\n{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{},\"tid\":{},\"args\":{{\"name\":\"{}\"}}}}",
                record.pid,
                record.tid,
                escaped(&record.name)
            )?;
            separator = ",";
            for span in &record.spans {
                write_span(sink, record, span)?;
            }
        }
        writeln!(sink, "\n]}}")
    }
}

fn write_span(sink: &mut dyn Write, record: &Record, span: &Span) -> io::Result<()> {
    let category = match span.activity {
        Activity::Guest => "guest",
        Activity::Call(_) => "syscall",
        Activity::Fault => "fault",
        Activity::Trap | Activity::Interrupt => "switch",
    };
    write!(
        sink,
        ",\n{{\"ph\":\"X\",\"name\":\"{}\",\"cat\":\"{category}\",\"ts\":{}.{:03},\"dur\":{}.{:03},\"pid\":{},\"tid\":{}}}",
        span.activity,
        span.start / 1000,
        span.start % 1000,
        span.length / 1000,
        span.length % 1000,
        record.pid,
        record.tid
    )
}

/// The name of a task inside of a JSON string; what is not ASCII is replaced.
fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    for &byte in name {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str("\\ufffd"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_their_string() {
        assert_eq!(escaped(b"a\"b\\c\n\xff"), "a\\\"b\\\\c\\ufffd\\ufffd");
    }

    #[test]
    fn traces_and_tables_show_what_was_recorded() {
        let profiler = Profiler::new();
        let mut counts = BTreeMap::new();
        let mut histogram = Histogram::default();
        histogram.add(1500);
        counts.insert(Activity::Call(39), histogram);
        let spans = vec![Span { start: 2_000_007, length: 1500, activity: Activity::Call(39) }];
        let record = Record { pid: 1, tid: 2, name: b"sh".to_vec(), spans, dropped: 3, counts };
        profiler.shared.records.lock().push(record);
        let mut trace = Vec::new();
        profiler.write_trace(&mut trace).expect("a vector takes everything");
        let trace = String::from_utf8(trace).expect("it is text");
        assert!(trace.contains(
            r#"{"ph":"X","name":"getpid","cat":"syscall","ts":2000.007,"dur":1.500,"pid":1,"tid":2}"#
        ));
        assert!(profiler.table().lines().any(|line| line.starts_with("getpid") && line.contains("1.50")));
        assert!(profiler.table().contains("3 spans"));
    }
}
