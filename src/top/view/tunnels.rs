//! The table of the proxy's tunnels.

use super::allocations::listed;
use super::table::{Cell, Column, Side, cell, column};
use super::{Look, Seen};
use crate::top::answers::Tunnel;
use crate::top::model::Model;
use crate::top::units::{bytes, known, scaled, span};
use ratatui::text::Line;

const COLUMNS: &[Column] = &[
    column("id", 5, Side::Right, 0).up_to(20),
    column("host", 18, Side::Left, 1).up_to(50),
    column("path", 10, Side::Left, 8).up_to(60),
    column("client", 21, Side::Left, 7).up_to(47),
    column("age", 6, Side::Right, 2),
    column("idle", 6, Side::Right, 3),
    column("to upstream", 11, Side::Right, 6),
    column("to client", 10, Side::Right, 6),
    column("bit/s up", 8, Side::Right, 5),
    column("bit/s down", 10, Side::Right, 5),
];

pub(super) fn lines(model: &Model, look: Look, height: usize) -> (Vec<Line<'static>>, Seen) {
    let list = &model.tunnels;
    let row = |one: &Tunnel| {
        let [up, down] = list.rates.get(&one.id).copied().unwrap_or_default();
        let rate = |bits: Option<f64>| cell(known(bits, |bits| scaled(bits).replace(' ', "")));
        vec![
            cell(one.id.to_string()),
            cell(one.host.as_str()),
            cell(one.path.as_str()),
            cell(one.client.as_str()),
            cell(span(one.age_s)),
            cell(span(one.idle_s)),
            cell(bytes(one.bytes_to_upstream)),
            cell(bytes(one.bytes_to_client)),
            rate(up.bits),
            rate(down.bits),
        ]
    };
    let rows: Vec<Vec<Cell>> = list.rows.iter().map(row).collect();
    listed(&list.walk, ("tunnels", COLUMNS), &rows, look, height)
}
