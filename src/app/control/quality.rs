//! A call's quality in the words of the admin API.

use crate::admin::{
    PacketKinds, Quality, QualityDetails, QualityHistory, QualitySeries, QualitySide,
    QualityStream, RtpTotals,
};
use crate::quality::{
    Details, HistoryReport, Interval, Kind, Report, RoundTripFrom, Side, SideReport, StreamReport,
    Totals,
};

pub(super) fn shown(report: &Report) -> Quality {
    let worst = report.trouble.worst;
    Quality {
        trouble: report.trouble.score,
        trouble_side: worst.map(|(side, _)| side.label()),
        trouble_cause: worst.map(|(_, cause)| cause.label()),
        client: side(report.side(Side::Client)),
        peer: side(report.side(Side::Peer)),
        details: report.details.as_ref().map(details),
    }
}

fn side(side: &SideReport) -> QualitySide {
    let interval = &side.interval;
    QualitySide {
        packets: PacketKinds {
            rtp: side.packets(Kind::Rtp),
            rtcp: side.packets(Kind::Rtcp),
            stun: side.packets(Kind::Stun),
            dtls: side.packets(Kind::Dtls),
            other: side.packets(Kind::Other),
        },
        loss_ratio: interval.loss_ratio.map(ratio),
        jitter_ms: interval.jitter_ms.map(tenths_of_us),
        bits_per_s: interval.bits_per_s.map(whole),
        packets_per_s: interval.packets_per_s.map(hundredths),
        round_trip_ms: interval.round_trip_ms.map(tenths_of_us),
        round_trip_from: interval.round_trip_from.map(|from| match from {
            RoundTripFrom::Stun => "stun",
            RoundTripFrom::Rtcp => "rtcp",
        }),
        totals: totals(side.totals),
    }
}

fn details(details: &Details) -> QualityDetails {
    QualityDetails {
        streams: details.streams.iter().map(stream).collect(),
        streams_forgotten: details.streams_forgotten,
        history: history(&details.history),
    }
}

fn stream(stream: &StreamReport) -> QualityStream {
    let interval = &stream.interval;
    QualityStream {
        from: stream.from.label(),
        peer: stream.peer.socket_addr(),
        ssrc: stream.ssrc,
        payload_type: stream.payload_type,
        clock_rate_hz: stream.clock_rate_hz,
        packets: stream.packets,
        bytes: stream.bytes,
        totals: totals(stream.totals),
        loss_ratio: interval.loss_ratio.map(ratio),
        jitter_ms: interval.jitter_ms.map(tenths_of_us),
        bits_per_s: interval.bits_per_s.map_or(0.0, whole),
        packets_per_s: interval.packets_per_s.map_or(0.0, hundredths),
        idle_s: stream.idle_s,
    }
}

fn history(history: &HistoryReport) -> QualityHistory {
    let series = |side: Side| {
        let of = |value: fn(&Interval) -> Option<f64>| {
            let steps = history.steps.iter();
            steps.map(|step| value(&step[side.index()])).collect()
        };
        QualitySeries {
            loss_ratio: of(|step| step.loss_ratio.map(ratio)),
            jitter_ms: of(|step| step.jitter_ms.map(tenths_of_us)),
            round_trip_ms: of(|step| step.round_trip_ms.map(tenths_of_us)),
            bits_per_s: of(|step| step.bits_per_s.map(whole)),
        }
    };
    QualityHistory {
        step_s: history.step_s,
        last_step_s: history.last_step_s,
        age_s: history.age_s,
        client: series(Side::Client),
        peer: series(Side::Peer),
    }
}

fn totals(totals: Totals) -> RtpTotals {
    RtpTotals {
        expected: totals.expected,
        lost: totals.lost,
        reordered: totals.reordered,
        duplicates: totals.duplicates,
        restarts: totals.restarts,
    }
}

/// More digits than were measured only make an answer longer.
fn rounded(value: f32, steps: f64) -> f64 {
    (f64::from(value) * steps).round() / steps
}

fn ratio(value: f32) -> f64 {
    rounded(value, 1e6)
}

fn tenths_of_us(value: f32) -> f64 {
    rounded(value, 1e4)
}

fn hundredths(value: f32) -> f64 {
    rounded(value, 1e2)
}

fn whole(value: f32) -> f64 {
    rounded(value, 1.0)
}
