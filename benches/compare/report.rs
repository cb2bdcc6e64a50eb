//! Tables and the chart.

use std::fmt::Write;

use anyhow::Result;

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    /// The host first.
    pub runners: Vec<String>,
    pub rounds: usize,
    pub rows: Vec<Row>,
}

/// One workload.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub unit: &'static str,
    /// For each runner.
    pub costs: Vec<Result<f64>>,
}

impl Row {
    fn host(&self) -> Option<f64> {
        self.costs.first()?.as_ref().ok().copied()
    }

    /// How many times the host's cost a runner's is; `None` where that says nothing.
    fn ratio(&self, runner: usize) -> Option<f64> {
        let cost = self.costs.get(runner)?.as_ref().ok()?;
        self.host().filter(|host| *host > 0.0 && self.unit != "MiB").map(|host| cost / host)
    }

    /// A cell of the table.
    fn cell(&self, runner: usize) -> String {
        match self.costs.get(runner) {
            Some(Ok(cost)) => match self.ratio(runner).filter(|_| runner > 0) {
                Some(ratio) => format!("{} ({ratio:.1}×)", number(*cost)),
                None => number(*cost),
            },
            _ => "failed".to_owned(),
        }
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

const INTRODUCTION: &str = "\
# Performance

Written by `cargo xtask compare --write`: one static program that measures operations from the inside, and whole programs from start to exit, on
the host, on each of our platforms, and under the peers that the machine has. All take turns, round by round; figures are medians, and in
parentheses how many times the host's they are. `bwrap` intercepts nothing: it shows what starting in namespaces costs.

![Times of the host's, on a logarithmic scale](performance.svg)
";

const PEERS: &str = "\
## How to get the peers

`proot` and `bubblewrap` are packages of Debian 12. So is `runsc`, but that of Debian 12 is of 2022 and has the ptrace platform alone; the one of Debian 13 has systrap
too. It is one static program and can be unpacked beside the other: download `runsc_*_amd64.deb` from Debian 13's pool (`pool/main/g/golang-gvisor-gvisor`), then
`dpkg-deb -x FILE DIRECTORY`, and give both as `cargo xtask compare --runsc DIRECTORY/usr/bin/runsc --runsc …`. A runner that does not work on the machine is left out, with its reason on
standard error. Leave the machine alone while it runs.
";

impl Report {
    /// For the terminal.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let width = self.runners.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(18) + 2;
        let mut line = |first: &str, cells: &mut dyn Iterator<Item = String>| {
            let _infallible = write!(text, "{first:<24}");
            for cell in cells {
                let _infallible = write!(text, "{cell:>width$}");
            }
            text.push('\n');
        };
        line("", &mut self.runners.iter().cloned());
        for row in &self.rows {
            let first = format!("{} ({})", row.name, row.unit);
            line(&first, &mut (0..self.runners.len()).map(|runner| row.cell(runner)));
        }
        text
    }

    /// For `docs/performance.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!("{INTRODUCTION}\n{}, {} rounds.\n\n", machine(), self.rounds);
        let _infallible = writeln!(text, "| | {} |", self.runners.join(" | "));
        let _infallible = writeln!(text, "| --- |{}", " ---: |".repeat(self.runners.len()));
        for row in &self.rows {
            let cells: Vec<String> = (0..self.runners.len()).map(|runner| row.cell(runner)).collect();
            let _infallible = writeln!(text, "| {} ({}) | {} |", row.name, row.unit, cells.join(" | "));
        }
        let _infallible = write!(text, "\n{PEERS}");
        text
    }

    /// Bars of how many times the host's each cost is, on a logarithmic scale from 1 to 1000.
    pub fn chart(&self) -> String {
        const COLOURS: [&str; 7] =
            ["#2a7de1", "#7fb2f0", "#d9480f", "#f2a65a", "#a33c00", "#8a8f98", "#3a9d5d"];
        const LEFT: f64 = 170.0;
        const WIDTH: f64 = 600.0;
        const BAR: f64 = 9.0;
        const GAP: f64 = 12.0;
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.ratio(0).is_some()).collect();
        let runners = self.runners.len().saturating_sub(1);
        let block = BAR * runners as f64 + GAP;
        let top = 24.0 + 18.0 * runners as f64;
        let height = top + block * rows.len() as f64 + 30.0;
        let place = |ratio: f64| LEFT + WIDTH * (ratio.clamp(1.0, 1000.0).log10() / 3.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <style>text{{fill:#222}}line{{stroke:#999}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}line{{stroke:#666}}}}</style>\n"
        );
        for (index, name) in self.runners.iter().skip(1).enumerate() {
            let (y, colour) = (14.0 + 18.0 * index as f64, COLOURS[index % COLOURS.len()]);
            let _infallible = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{:.0}\">{name}</text>",
                LEFT + 18.0,
                y + 10.0
            );
        }
        for ratio in [1.0, 10.0, 100.0, 1000.0] {
            let x = place(ratio);
            let _infallible = writeln!(
                svg,
                "<line x1=\"{x:.0}\" y1=\"{top:.0}\" x2=\"{x:.0}\" y2=\"{:.0}\"/><text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{ratio}×</text>",
                height - 24.0,
                height - 8.0
            );
        }
        for (index, row) in rows.iter().enumerate() {
            let y = top + block * index as f64 + GAP / 2.0;
            let _infallible = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + BAR * runners as f64 / 2.0 + 4.0,
                row.name
            );
            for runner in 0..runners {
                let Some(ratio) = row.ratio(runner + 1) else { continue };
                let _infallible = writeln!(
                    svg,
                    "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{}\"/>",
                    y + BAR * runner as f64,
                    (place(ratio) - LEFT).max(1.0),
                    BAR - 1.0,
                    COLOURS[runner % COLOURS.len()]
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// What kind of machine it is.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let virtual_machine = if cpuinfo.contains(" hypervisor") { ", a virtual machine" } else { "" };
    let version = read("/proc/sys/kernel/osrelease");
    let version = version.trim().split(['-', '+']).next().unwrap_or_default().to_owned();
    format!("{processors} processors ({model}){virtual_machine}, Linux {version}")
}
