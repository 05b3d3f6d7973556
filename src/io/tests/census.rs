//! What the workers tell of their allocations, and ending them, while they serve.

use super::*;
use crate::addr::Transport;
use crate::io::census::{AddressFilter, Filter, Listed, Query, SortBy, Unanswered};

fn block_on<T>(asked: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(asked)
}

fn query(filter: Filter, limit: usize) -> Query {
    Query {
        filter,
        sort: SortBy::Id,
        descending: false,
        after: None,
        limit,
        lists_max: 1,
        details: false,
    }
}

impl Running {
    fn list(&self, query: Query) -> Listed {
        block_on(self.handle.list(query)).expect("the workers answer")
    }
}

#[test]
fn several_workers_give_one_list_in_order_and_no_more_than_was_asked() {
    let running = serve(Settings {
        workers: 3,
        ..settings()
    });
    let mut clients: Vec<_> = (0..40).map(|_| running.udp_client()).collect();
    for client in &mut clients {
        client.allocate(&[]).expect("allocated");
    }
    let whole = running.list(query(Filter::default(), 1000));
    assert_eq!((whole.matched, whole.rows.len()), (40, 40));
    let ids: Vec<u64> = whole.rows.iter().map(|row| row.position.id).collect();
    assert!(ids.is_sorted());

    let first = running.list(query(Filter::default(), 15));
    assert_eq!((first.matched, first.rows.len()), (40, 15));
    let next = running.list(Query {
        after: first.rows.last().map(|row| row.position.clone()),
        ..query(Filter::default(), 1000)
    });
    assert_eq!((next.matched, next.rows.len()), (40, 25));
    let joined: Vec<u64> = first
        .rows
        .iter()
        .chain(&next.rows)
        .map(|row| row.position.id)
        .collect();
    assert_eq!(joined, ids);
    let descending = running.list(Query {
        descending: true,
        ..query(Filter::default(), 1)
    });
    assert_eq!(descending.rows[0].position.id, ids[39]);
}

#[test]
fn a_row_shows_the_first_of_its_permissions_and_counts_all() {
    let running = serve(settings());
    let mut client = running.udp_client();
    let relayed = client.allocate(&[]).expect("allocated");
    for peer in ["127.0.0.2:7", "127.0.0.3:7", "127.0.0.4:7"] {
        client
            .permit(peer.parse().expect("valid"))
            .expect("permitted");
    }
    client
        .bind_channel(0x4000, "127.0.0.4:9".parse().expect("valid"))
        .expect("bound");
    let listed = running.list(query(Filter::default(), 10));
    let row = &listed.rows[0];
    assert_eq!((row.permissions_total, row.permissions.len()), (3, 1));
    assert_eq!((row.channels_total, row.channels[0].number), (1, 0x4000));
    assert_eq!(row.relayed[0].socket_addr(), relayed);
    assert_eq!(
        (row.username.as_str(), row.five_tuple.transport),
        (USER, Transport::Udp)
    );
    assert!(row.expires_at > row.started_at);
    let with_peer = |peer| {
        let filter = Filter {
            peer: Some(peer),
            ..Filter::default()
        };
        running.list(query(filter, 10)).matched
    };
    assert_eq!(
        with_peer(AddressFilter::Ip("127.0.0.3".parse().expect("valid"))),
        1
    );
    assert_eq!(
        with_peer(AddressFilter::Both("127.0.0.4:9".parse().expect("valid"))),
        1
    );
    assert_eq!(
        with_peer(AddressFilter::Both("127.0.0.4:8".parse().expect("valid"))),
        0
    );
    assert_eq!(with_peer(AddressFilter::Port(9)), 1);
}

#[test]
fn what_is_ended_is_gone_from_its_worker_and_the_rest_is_not() {
    let running = serve(Settings {
        workers: 2,
        ..settings()
    });
    let mut clients: Vec<_> = (0..50).map(|_| running.udp_client()).collect();
    for client in &mut clients {
        client.allocate(&[]).expect("allocated");
    }
    let keeper = running.list(query(Filter::default(), 1)).rows[0].clone();
    let mut stream = running.tcp_client();
    stream.allocate(&[]).expect("allocated");
    let tcp = Filter {
        transport: Some(Transport::Tcp),
        ..Filter::default()
    };
    assert_eq!(block_on(running.handle.end_allocations(tcp)), Ok(1));
    assert_eq!(stream.refresh(600), Err(437));
    let udp_of = |id: Option<u64>| Filter {
        transport: Some(Transport::Udp),
        id,
        ..Filter::default()
    };
    let one = block_on(
        running
            .handle
            .end_allocations(udp_of(Some(keeper.position.id))),
    );
    assert_eq!(one, Ok(1));
    assert_eq!(
        block_on(running.handle.end_allocations(udp_of(None))),
        Ok(49)
    );
    assert!(
        clients
            .iter_mut()
            .all(|client| client.refresh(600) == Err(437))
    );
    assert_eq!(running.list(query(Filter::default(), 10)).matched, 0);
}

#[test]
fn stopped_workers_say_that_they_do_not_answer() {
    let running = serve(settings());
    running.handle.stop();
    let listed = block_on(running.handle.list(query(Filter::default(), 10)));
    assert_eq!(listed.map(|listed| listed.matched), Err(Unanswered));
    let ended = block_on(running.handle.end_allocations(Filter::default()));
    assert_eq!(ended, Err(Unanswered));
}
