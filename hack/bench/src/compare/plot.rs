//! Throughput and p99 over connections, as SVG.

use std::fmt::Write as _;

use super::figures::{Figures, Medians};
use super::subject::System;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
/// Around the axes of a panel.
const LEFT: f64 = 64.0;
const TOP: f64 = 36.0;
const BELOW: f64 = 44.0;
const RIGHT: f64 = 16.0;
/// Steps of the vertical axis.
const STEPS: u32 = 4;

const SYSTEMS: [(System, &str); 5] = [
    (System::Rkv, "#1b6ca8"),
    (System::Native, "#e67e22"),
    (System::Etcd, "#c0392b"),
    (System::EtcdV2, "#8e44ad"),
    (System::Constant, "#7f8c8d"),
];

struct Panel {
    title: &'static str,
    of: fn(&Medians) -> f64,
}

const PANELS: [Panel; 2] = [
    Panel {
        title: "requests/s",
        of: |medians| medians.per_second,
    },
    Panel {
        title: "p99, ms",
        of: |medians| medians.p99.as_secs_f64() * 1e3,
    },
];

/// Two panels for one operation.
pub(crate) fn svg(figures: &Figures, operation: &str, nodes: u64) -> String {
    let width = 2.0 * (LEFT + WIDTH + RIGHT);
    let height = TOP + HEIGHT + BELOW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, panel) in PANELS.iter().enumerate() {
        let x = number as f64 * (LEFT + WIDTH + RIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x} 0)\">");
        let title = format!("{operation}, {nodes} node(s): {}", panel.title);
        text(&mut svg, LEFT, 20.0, "start", &title);
        draw(&mut svg, panel, figures, operation);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, panel: &Panel, figures: &Figures, operation: &str) {
    let lines = SYSTEMS.map(|(system, colour)| (system, colour, figures.line(operation, system)));
    let values = lines.iter().flat_map(|(_, _, line)| line);
    let top = values.map(|(_, medians)| (panel.of)(medians));
    let top = ceiling(top.fold(0.0, f64::max));
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    for step in 0..=STEPS {
        let value = top * f64::from(step) / f64::from(STEPS);
        let at = y(value);
        let end = LEFT + WIDTH;
        let _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/>");
        text(svg, LEFT - 6.0, at + 4.0, "end", &format!("{value}"));
    }
    let longest = lines
        .iter()
        .map(|(_, _, line)| line)
        .max_by_key(|line| line.len());
    let places: Vec<u32> = longest.into_iter().flatten().map(|(at, _)| *at).collect();
    // Numbers of connections are spaced evenly: they grow by factors.
    let x = |connections: u32| {
        let place = places.iter().position(|place| *place == connections);
        LEFT + WIDTH * (place.unwrap_or(0) as f64 + 0.5) / places.len() as f64
    };
    for place in &places {
        text(
            svg,
            x(*place),
            TOP + HEIGHT + 18.0,
            "middle",
            &place.to_string(),
        );
    }
    text(
        svg,
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 36.0,
        "middle",
        "connections",
    );
    for (number, (system, colour, line)) in lines.iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        let points = line.iter().map(|(at, medians)| {
            let (x, y) = (x(*at), y((panel.of)(medians)));
            format!("{x:.1},{y:.1}")
        });
        let points: Vec<_> = points.collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        for point in points {
            let (x, y) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let at = TOP + 14.0 + 16.0 * number as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
            LEFT + 10.0,
            at - 9.0
        );
        text(svg, LEFT + 26.0, at, "start", &system.to_string());
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

/// A round number of at least `value`, at most two and a half times it.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let fits = steps.iter().find(|step| *step * power >= value);
    fits.unwrap_or(&10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_that_nothing_exceeds() {
        for value in [0.3, 1.0, 7.0, 15_234.0, 99_999.0] {
            let top = ceiling(value);
            assert!((value..=2.5 * value).contains(&top), "{value}: {top}");
        }
        assert!((ceiling(15_234.0) - 20_000.0).abs() < 1e-6);
        assert!((ceiling(0.0) - 1.0).abs() < 1e-6);
    }
}
