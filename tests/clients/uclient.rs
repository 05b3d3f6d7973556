//! coturn's `turnutils_uclient` and `turnutils_stunclient`: every transport, channels and Send indications, both families.

use crate::support::{PASSWORD, Server, USER, V4, V6, run_tool, start};
use std::net::{IpAddr, SocketAddr, UdpSocket};

const MESSAGES: u32 = 50;
const CLIENTS: u32 = 4;

/// How the client reaches the server.
#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// How payload is sent to the server.
#[derive(Clone, Copy)]
enum Mode {
    Channels,
    SendIndications,
}

/// What `turnutils_uclient` counted.
#[derive(Debug)]
struct Tally {
    sent: u32,
    received: u32,
    lost: u32,
}

impl Tally {
    /// The closing lines: `start_mclient: tot_send_msgs=N, tot_recv_msgs=N` and `Total lost packets N (`.
    fn read(output: &str) -> Self {
        let number = |mark: &str| -> u32 {
            let (_, rest) = output
                .rsplit_once(mark)
                .unwrap_or_else(|| panic!("turnutils_uclient did not print {mark:?}:\n{output}"));
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a count follows its mark")
        };
        Self {
            sent: number("tot_send_msgs="),
            received: number("tot_recv_msgs="),
            lost: number("Total lost packets "),
        }
    }
}

/// Runs the client with the flags of a scenario and asserts that every message came back.
fn assert_relayed(server: &mut Server, ip: IpAddr, transport: Transport, flags: &[&str]) {
    let ports = server.ports(ip);
    let (port, transport_flags): (u16, &[&str]) = match transport {
        Transport::Udp => (ports.udp, &[]),
        Transport::Tcp => (ports.tcp, &["-t"]),
        Transport::Tls => (ports.tls, &["-t", "-S", "-E"]),
    };
    let mut args: Vec<String> = transport_flags.iter().map(ToString::to_string).collect();
    if matches!(transport, Transport::Tls) {
        args.push(server.certificate().display().to_string());
    }
    args.extend(flags.iter().map(ToString::to_string));
    let numbers = [
        ("-p", u32::from(port)),
        ("-n", MESSAGES),
        ("-m", CLIENTS),
        ("-l", 172),
        ("-z", 10),
    ];
    for (flag, value) in numbers {
        args.extend([flag.to_owned(), value.to_string()]);
    }
    args.extend(["-u", USER, "-w", PASSWORD].map(str::to_owned));
    args.push(ip.to_string());

    let output = run_tool("turnutils_uclient", "coturn", &args);
    let tally = Tally::read(&output);
    let told = format!(
        "turnutils_uclient {args:?}:\n{output}\nthe server said:\n{}",
        server.tail()
    );
    let all = MESSAGES * CLIENTS;
    assert_eq!(tally.sent, all, "{told}");
    if matches!(transport, Transport::Tls) {
        // Over TLS this client reads one record for each wake-up and takes it for one message: what comes together it loses or
        // leaves unread, with every server. What the server relayed is judged below.
        assert!(tally.received >= all * 9 / 10, "{told}");
    } else {
        assert_eq!((tally.received, tally.lost), (all, 0), "{told}");
    }
    if server.is_relayd() {
        let relayed = (u64::from(all), u64::from(all));
        server.wait_for("all packets in the ends of allocations", |server| {
            (server.relayed_packets() == relayed).then_some(())
        });
    }
    server.assert_alive();
}

/// Clients send to each other's relayed addresses (`-y`), over the given family on both sides.
fn assert_calls(name: &str, ip: IpAddr, transport: Transport, mode: Mode) {
    let mut server = start(name);
    let mut flags = vec!["-y", "-c"];
    if ip.is_ipv6() {
        flags.push("-x");
    }
    if matches!(mode, Mode::SendIndications) {
        flags.push("-s");
    }
    assert_relayed(&mut server, ip, transport, &flags);
}

/// A peer outside that sends back what it gets, until its socket is told to stop.
struct Echo {
    addr: SocketAddr,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn start(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("loopback has a free port");
        let addr = socket.local_addr().expect("a bound socket has an address");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                if told.load(std::sync::atomic::Ordering::Acquire) {
                    return;
                }
                let _ = socket.send_to(
                    buffer
                        .get(..len)
                        .expect("a datagram fits the buffer it was read into"),
                    from,
                );
            }
        });
        Self {
            addr,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Release);
        let waker = UdpSocket::bind((self.addr.ip(), 0))
            .and_then(|socket| socket.send_to(b"stop", self.addr));
        if let (Ok(_), Some(thread)) = (waker, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn assert_echo(name: &str, ip: IpAddr, transport: Transport, flags: &[&str]) {
    let mut server = start(name);
    let echo = Echo::start(ip);
    let (peer, port) = (echo.addr.ip().to_string(), echo.addr.port().to_string());
    let mut all = vec!["-e", &peer, "-r", &port, "-c"];
    if ip.is_ipv6() {
        all.push("-x");
    }
    all.extend(flags);
    assert_relayed(&mut server, ip, transport, &all);
}

macro_rules! calls {
    ($($name:ident: $ip:ident, $transport:ident, $mode:ident;)*) => {
        $(#[test]
        fn $name() {
            assert_calls(stringify!($name), $ip, Transport::$transport, Mode::$mode);
        })*
    };
}

calls! {
    uclients_call_each_other_over_udp_with_channels_on_ipv4: V4, Udp, Channels;
    uclients_call_each_other_over_udp_with_channels_on_ipv6: V6, Udp, Channels;
    uclients_call_each_other_over_udp_with_send_indications_on_ipv4: V4, Udp, SendIndications;
    uclients_call_each_other_over_udp_with_send_indications_on_ipv6: V6, Udp, SendIndications;
    uclients_call_each_other_over_tcp_with_channels_on_ipv4: V4, Tcp, Channels;
    uclients_call_each_other_over_tcp_with_channels_on_ipv6: V6, Tcp, Channels;
    uclients_call_each_other_over_tcp_with_send_indications_on_ipv4: V4, Tcp, SendIndications;
    uclients_call_each_other_over_tcp_with_send_indications_on_ipv6: V6, Tcp, SendIndications;
    uclients_call_each_other_over_tls_with_channels_on_ipv4: V4, Tls, Channels;
    uclients_call_each_other_over_tls_with_channels_on_ipv6: V6, Tls, Channels;
    uclients_call_each_other_over_tls_with_send_indications_on_ipv4: V4, Tls, SendIndications;
    uclients_call_each_other_over_tls_with_send_indications_on_ipv6: V6, Tls, SendIndications;
}

#[test]
fn uclient_reaches_an_outside_peer_over_udp_with_channels_on_ipv4() {
    assert_echo("echo-udp", V4, Transport::Udp, &[]);
}

#[test]
fn uclient_reaches_an_outside_peer_over_udp_with_send_indications_on_ipv6() {
    assert_echo("echo-udp-send-v6", V6, Transport::Udp, &["-s"]);
}

#[test]
fn uclient_reaches_an_outside_peer_over_tcp_and_tls() {
    assert_echo("echo-tcp", V4, Transport::Tcp, &[]);
    assert_echo("echo-tls", V6, Transport::Tls, &["-s"]);
}

/// RFC 8656 §14.9: the option is no reason to refuse on a path that carries the packet.
#[test]
fn uclient_with_dont_fragment_is_relayed() {
    assert_echo("dont-fragment", V4, Transport::Udp, &["-g"]);
}

/// RFC 8656 §12.5: over UDP padding is allowed, and tolerated.
#[test]
fn uclient_that_pads_channel_data_over_udp_is_relayed() {
    assert_echo("padding", V4, Transport::Udp, &["-D"]);
}

/// RFC 8656 §7.1, §14.6: without `-c` the client asks for an even port and reserves the next one for RTCP.
#[test]
fn uclient_with_rtcp_gets_pairs_of_ports_over_udp() {
    assert_relayed(&mut start("rtcp-udp"), V4, Transport::Udp, &["-y"]);
}

#[test]
fn uclient_with_rtcp_gets_pairs_of_ports_over_tcp() {
    assert_relayed(&mut start("rtcp-tcp"), V4, Transport::Tcp, &["-y"]);
}

#[test]
fn uclient_that_repeats_its_permissions_and_channel_bindings_is_relayed() {
    assert_echo("repeats", V4, Transport::Udp, &["-G"]);
}

/// RFC 8489 §2: Binding needs no credentials.
#[test]
fn stunclient_learns_its_own_address_on_both_families() {
    let mut server = start("stunclient");
    for (ip, own) in [(V4, "127.0.0.1:"), (V6, "::1:")] {
        let args = [
            "-p".to_owned(),
            server.ports(ip).udp.to_string(),
            ip.to_string(),
        ];
        let output = run_tool("turnutils_stunclient", "coturn", &args);
        let told = output
            .lines()
            .find_map(|line| line.split_once("UDP reflexive addr: "));
        let (_, address) = told.unwrap_or_else(|| panic!("no reflexive address in:\n{output}"));
        assert!(
            address.starts_with(own),
            "{address} is this machine's {own}"
        );
    }
    server.assert_alive();
}
