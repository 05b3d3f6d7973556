//! The vendors' published nginx configurations beside relayd: the same requests through both, row by row.
//!
//! `cargo test --test nginx -- --nocapture` prints the table. Needs the Debian package nginx-light.

#[path = "../support/web/mod.rs"]
mod web;

mod dns;
mod nginx;
mod table;

use nginx::Nginx;
use std::net::SocketAddr;
use table::Table;
use web::certs::{Authority, Validity};
use web::client::Client;
use web::message::{Message, find};
use web::origin::{Origin, Then, accept_websocket, echo_bytes, ok, raw, send};
use web::relayd::{Relayd, Setup, resolve};

const APP: &str = "https://app.example.org";

/// Both proxies before the same origins.
struct Both {
    origin: Origin,
    /// Another one, whose certificate has expired.
    expired: Origin,
    nginx: Nginx,
    relayd: Relayd,
}

/// What a request came to: the answer, and what the origin saw of it.
struct Came {
    answer: Option<Message>,
    seen: Option<Message>,
}

impl Came {
    fn status(&self) -> String {
        self.answer
            .as_ref()
            .map_or("closed".to_owned(), |a| a.status().to_string())
    }

    fn header(&self, name: &str) -> String {
        let all = self.answer.as_ref().map(|a| a.all(name).join(", "));
        all.filter(|v| !v.is_empty())
            .unwrap_or_else(|| "none".to_owned())
    }

    /// `GET /x` of what the origin saw.
    fn target(&self) -> String {
        self.seen
            .as_ref()
            .map_or("not asked".to_owned(), |s| s.target().to_owned())
    }

    fn upstream_header(&self, name: &str) -> String {
        let all = self.seen.as_ref().map(|s| s.all(name).join(", "));
        all.filter(|v| !v.is_empty())
            .unwrap_or_else(|| "none".to_owned())
    }
}

impl Both {
    fn start() -> Self {
        let ca = Authority::new("upstream test root");
        let names = [
            "*.example.com",
            "*.svc.cloud.microsoft",
            "signaling.rtc.qq.com",
            "yun.tim.qq.com",
            "watchrtc-server.cyara.com",
        ];
        let origin = Origin::start(&ca.leaf(&names), answer);
        let late = ca.leaf_valid(
            &names,
            Validity {
                from_day: -90,
                to_day: -1,
            },
        );
        let expired = Origin::start(&late, |_, wire, _| ok(wire, "fine"));
        let resolver = dns::start();
        let nginx = Nginx::start(origin.addr, resolver);
        let (port, late) = (origin.addr.port(), expired.addr.port());
        let hosts = [
            format!("api.example.com:{port}"),
            format!("other.example.com:{port}"),
            format!("prod.svc.cloud.microsoft:{port}"),
            format!("late.example.com:{late}"),
        ];
        let allow: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        let at_origin = [
            &hosts[0],
            &hosts[1],
            &hosts[2],
            "signaling.rtc.qq.com",
            "yun.tim.qq.com",
            "watchrtc-server.cyara.com",
        ];
        let resolve = resolve(&at_origin, origin.addr);
        let resolve = resolve.trim_end().trim_end_matches('}').trim_end();
        let proxy = format!(
            "vendors = [\"trtc\", \"watchrtc\"]\nallow = [{}]\n{resolve}, {:?} = \"{}\" }}\n",
            allow.join(", "),
            hosts[3],
            expired.addr
        );
        let relayd = Relayd::start(Setup {
            proxy,
            upstream_ca: Some(&ca),
            ..Setup::default()
        });
        Self {
            origin,
            expired,
            nginx,
            relayd,
        }
    }

    /// `host` with the origin's port.
    fn at(&self, host: &str) -> String {
        format!("{host}:{}", self.origin.addr.port())
    }

    /// The same request through nginx and through relayd; `{own}` in it is the authority of each.
    fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (Came, Came) {
        let through = |authority: &str, connect: &dyn Fn() -> Client| {
            let mut head = format!(
                "{method} {} HTTP/1.1\r\nHost: {authority}\r\n",
                target.replace("{own}", authority)
            );
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            if !body.is_empty() {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            head.push_str("\r\n");
            self.exchange(method, &[head.as_bytes(), body].concat(), connect)
        };
        (
            through(&self.nginx.authority(), &|| self.nginx.connect()),
            through(&self.relayd.authority(), &|| self.relayd.connect()),
        )
    }

    fn exchange(&self, method: &str, bytes: &[u8], connect: &dyn Fn() -> Client) -> Came {
        let before = self.origin.seen().len();
        let mut client = connect();
        client.send(bytes);
        let answer = match method {
            "WEBSOCKET" => client.reader.head(&mut client.stream),
            _ => client.reader.message(&mut client.stream, method == "HEAD"),
        };
        let seen = self
            .origin
            .seen()
            .into_iter()
            .skip(before)
            .last()
            .map(|seen| seen.message);
        Came {
            answer: answer.ok().flatten(),
            seen,
        }
    }
}

/// What the origin says, by the path it is asked for.
fn answer(
    seen: &web::origin::Seen,
    wire: &mut web::origin::Wire,
    reader: &mut web::message::Reader,
) -> Then {
    let path = seen
        .message
        .target()
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned();
    let own = seen.message.one("host").unwrap_or_default();
    if seen.message.one("upgrade").is_some() {
        accept_websocket(seen, wire, &[("Sec-WebSocket-Protocol", "2.0")], b"early");
        echo_bytes(wire, reader);
        return Then::Close;
    }
    match path.as_str() {
        "/400" => send(
            wire,
            "400 Bad Request",
            &[("Content-Type", "application/json")],
            b"{\"code\":7}",
        ),
        "/redirect" => {
            let port = own.split(':').nth(1).unwrap_or("443");
            let location = format!("https://other.example.com:{port}/landed");
            send(wire, "302 Found", &[("Location", &location)], b"")
        }
        "/inside" => {
            let port = wire.sock.local_addr().expect("an address").port();
            let location = format!("https://127.0.0.1:{port}/landed");
            send(wire, "302 Found", &[("Location", &location)], b"")
        }
        "/cors" => send(
            wire,
            "200 OK",
            &[("Access-Control-Allow-Origin", "https://theirs.example.com")],
            b"x",
        ),
        "/cookie" => send(
            wire,
            "200 OK",
            &[("Set-Cookie", "s=1; Path=/; Domain=example.com")],
            b"x",
        ),
        "/hsts" => send(
            wire,
            "200 OK",
            &[("Strict-Transport-Security", "max-age=9")],
            b"x",
        ),
        "/json" => send(
            wire,
            "200 OK",
            &[("Content-Type", "application/json")],
            b"{\"a\":1}",
        ),
        "/close" => {
            raw(
                wire,
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            );
            Then::Close
        }
        _ => ok(wire, "fine"),
    }
}

#[test]
fn the_same_requests_through_nginx_and_through_relayd() {
    let both = Both::start();
    let mut table = Table::default();
    routes(&both, &mut table);
    prefixes(&both, &mut table);
    policy(&both, &mut table);
    cross_origin(&both, &mut table);
    answers(&both, &mut table);
    redirects(&both, &mut table);
    websockets(&both, &mut table);
    framing(&both, &mut table);
    connections(&both, &mut table);
    table.finish();
}

fn routes(both: &Both, table: &mut Table) {
    let api = both.at("api.example.com");
    let get = |path: &str| both.ask("GET", &format!("/{api}{path}"), &[], b"");

    let (nginx, relayd) = get("/a/b?c=d");
    table.equal("host route", &nginx.target(), &relayd.target(), "/a/b?c=d");
    table.equal(
        "Host of the upstream",
        &nginx.upstream_header("host"),
        &relayd.upstream_header("host"),
        &api,
    );

    let (nginx, relayd) = get("//config/v1");
    table.equal(
        "two slashes after the host",
        &nginx.target(),
        &relayd.target(),
        "/config/v1",
    );

    let (nginx, relayd) = get("/a%2Fb%20c");
    table.better(
        "`/a%2Fb%20c`",
        (&nginx.target(), "/a/b%20c"),
        (&relayd.target(), "/a%2Fb%20c"),
    );

    let (nginx, relayd) = get("/a//b");
    table.better(
        "`/a//b`",
        (&nginx.target(), "/a/b"),
        (&relayd.target(), "/a//b"),
    );

    let (nginx, relayd) = get("/a/%2e%2e/b");
    table.better(
        "`/a/%2e%2e/b`",
        (&nginx.target(), "/b"),
        (&relayd.target(), "/a/%2e%2e/b"),
    );

    let (nginx, relayd) = both.ask("GET", &format!("/{{own}}/{api}/trap/tokens"), &[], b"");
    table.equal(
        "own .com authority in front",
        &nginx.target(),
        &relayd.target(),
        "/trap/tokens",
    );
    table.better(
        "... and how often the request was proxied",
        (
            &nginx.upstream_header("x-forwarded-for"),
            "127.0.0.1, 127.0.0.1",
        ),
        (&relayd.upstream_header("x-forwarded-for"), "127.0.0.1"),
    );

    let bytes = |port: u16| {
        format!("GET /proxy.corp.io:{port}/{api}/trap/tokens HTTP/1.1\r\nHost: proxy.corp.io:{port}\r\n\r\n").into_bytes()
    };
    let nginx = both.exchange("GET", &bytes(both.nginx.addr.port()), &|| {
        both.nginx.connect()
    });
    let relayd = both.exchange("GET", &bytes(both.relayd.tls.port()), &|| {
        both.relayd.connect()
    });
    table.better(
        "own .io authority in front",
        (&nginx.target(), "not asked"),
        (&relayd.target(), "/trap/tokens"),
    );

    let (nginx, relayd) = both.ask(
        "GET",
        &format!("/{}/x", both.at("prod.svc.cloud.microsoft")),
        &[],
        b"",
    );
    table.better(
        "a host outside .com and .net",
        (&nginx.status(), "404"),
        (&relayd.status(), "200"),
    );

    let lie = [("X-Forwarded-For", "192.0.2.1")];
    let (nginx, relayd) = both.ask("GET", &format!("/{api}/x"), &lie, b"");
    table.better(
        "X-Forwarded-For that a client made up",
        (
            &nginx.upstream_header("x-forwarded-for"),
            "192.0.2.1, 127.0.0.1",
        ),
        (&relayd.upstream_header("x-forwarded-for"), "127.0.0.1"),
    );
    table.equal(
        "X-Real-IP",
        &nginx.upstream_header("x-real-ip"),
        &relayd.upstream_header("x-real-ip"),
        "127.0.0.1",
    );

    let authorized = [("Authorization", "Bearer x")];
    let (nginx, relayd) = both.ask("DELETE", &format!("/{api}/x"), &authorized, b"");
    table.equal(
        "Authorization",
        &nginx.upstream_header("authorization"),
        &relayd.upstream_header("authorization"),
        "Bearer x",
    );
    table.equal("DELETE", &nginx.status(), &relayd.status(), "200");
}

fn prefixes(both: &Both, table: &mut Table) {
    for (what, target, wanted) in [
        ("TRTC logs", "/logger//v5/x?random=1", "/v5/x?random=1"),
        (
            "watchRTC's handshake path",
            "/websocket?apiKey=1",
            "/?apiKey=1",
        ),
    ] {
        let (nginx, relayd) = both.ask("GET", target, &[], b"");
        table.equal(what, &nginx.target(), &relayd.target(), wanted);
    }
    let (nginx, relayd) = both.ask("GET", "/websocket/trace", &[], b"");
    table.better(
        "watchRTC `/websocket/trace`",
        (&nginx.target(), "//trace"),
        (&relayd.target(), "/trace"),
    );

    let (nginx, relayd) = both.ask("GET", "/ws?sdkAppId=1", &[], b"");
    table.better(
        "TRTC `/ws` without its slash",
        (&nginx.status(), "301"),
        (&relayd.status(), "200"),
    );

    let before = both.origin.seen().len();
    both.ask("GET", "/logger/x", &[], b"");
    let sni: Vec<String> = both.origin.seen()[before..]
        .iter()
        .map(|s| s.sni.clone().unwrap_or("none".to_owned()))
        .collect();
    let [nginx, relayd] = &sni[..] else {
        panic!("{sni:?}")
    };
    table.better(
        "SNI of a prefix route",
        (nginx, "none"),
        (relayd, "yun.tim.qq.com"),
    );
}

fn policy(both: &Both, table: &mut Table) {
    let port = both.origin.addr.port();
    for (what, target, theirs) in [
        (
            "any other .com host",
            format!("/anything.evil.com:{port}/x"),
            "200",
        ),
        (
            "an address behind `%2F`",
            format!("/127.0.0.1:{port}%2F.com/x"),
            "200",
        ),
        // It connects, and only TLS fails, on a name that is none.
        ("a userinfo", format!("/user@evil.com:{port}/x"), "502"),
    ] {
        let (nginx, relayd) = both.ask("GET", &target, &[], b"");
        table.better(what, (&nginx.status(), theirs), (&relayd.status(), "403"));
        assert_eq!(relayd.target(), "not asked");
    }
    let late = format!("/late.example.com:{}/x", both.expired.addr.port());
    let (nginx, relayd) = both.ask("GET", &late, &[("Authorization", "secret")], b"");
    table.better(
        "an upstream certificate that has expired",
        (&nginx.status(), "200"),
        (&relayd.status(), "502"),
    );
    let (nginx, relayd) = both.ask("GET", "/nowhere", &[], b"");
    table.equal("no route", &nginx.status(), &relayd.status(), "404");
    table.better(
        "its own name in errors",
        (&nginx.header("server"), "nginx/1.22.1"),
        (&relayd.header("server"), "none"),
    );
}

fn cross_origin(both: &Both, table: &mut Table) {
    let api = both.at("api.example.com");
    let asking = [
        ("Origin", APP),
        ("Access-Control-Request-Method", "DELETE"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let (nginx, relayd) = both.ask("OPTIONS", &format!("/{api}/x"), &asking, b"");
    table.equal("preflight", &nginx.status(), &relayd.status(), "204");
    for (name, theirs, ours) in [
        ("access-control-allow-origin", "*", APP),
        ("access-control-allow-headers", "*", "authorization"),
        (
            "access-control-allow-methods",
            "GET, POST, OPTIONS",
            "DELETE",
        ),
    ] {
        table.better(
            &format!("preflight: {name}"),
            (&nginx.header(name), theirs),
            (&relayd.header(name), ours),
        );
    }
    let (nginx, relayd) = both.ask(
        "OPTIONS",
        &format!("/{}/x", both.at("anything.evil.com")),
        &asking,
        b"",
    );
    table.better(
        "preflight for another host",
        (&nginx.status(), "204"),
        (&relayd.status(), "403"),
    );

    let origin = [("Origin", APP)];
    let allowed = |(nginx, relayd): (Came, Came)| {
        (
            nginx.header("access-control-allow-origin"),
            relayd.header("access-control-allow-origin"),
        )
    };
    let (nginx, relayd) = allowed(both.ask("GET", &format!("/{api}/cors"), &origin, b""));
    table.better(
        "allowed origin, the upstream naming its own",
        (&nginx, "https://theirs.example.com"),
        (&relayd, APP),
    );
    let (nginx, relayd) = allowed(both.ask("GET", &format!("/{api}/x"), &origin, b""));
    table.better(
        "allowed origin, the upstream naming none",
        (&nginx, "none"),
        (&relayd, APP),
    );
    let (nginx, relayd) = allowed(both.ask("GET", "/nowhere", &origin, b""));
    table.better(
        "allowed origin of the proxy's own error",
        (&nginx, "none"),
        (&relayd, APP),
    );
}

fn answers(both: &Both, table: &mut Table) {
    let api = both.at("api.example.com");
    let get = |path: &str| both.ask("GET", &format!("/{api}{path}"), &[], b"");
    let text = |came: &Came| {
        came.answer.as_ref().map_or(String::new(), |a| {
            String::from_utf8_lossy(&a.body).into_owned()
        })
    };

    let (nginx, relayd) = get("/json");
    table.equal(
        "Content-Length of JSON",
        &nginx.header("content-length"),
        &relayd.header("content-length"),
        "7",
    );

    let (nginx, relayd) = get("/400");
    table.better(
        "status of an upstream's 400",
        (&nginx.status(), "404"),
        (&relayd.status(), "400"),
    );
    let kept = |came: &Came| (text(came) == "{\"code\":7}").to_string();
    table.better(
        "... its body kept",
        (&kept(&nginx), "false"),
        (&kept(&relayd), "true"),
    );

    let (nginx, relayd) = get("/cookie");
    let scoped = format!("s=1; Path=/{api}");
    table.better(
        "a cookie for everything",
        (
            &nginx.header("set-cookie"),
            "s=1; Path=/; Domain=example.com",
        ),
        (&relayd.header("set-cookie"), &scoped),
    );
    let (nginx, relayd) = get("/hsts");
    table.better(
        "Strict-Transport-Security of an upstream",
        (&nginx.header("strict-transport-security"), "max-age=9"),
        (&relayd.header("strict-transport-security"), "none"),
    );

    let (nginx, relayd) = both.ask("POST", &format!("/{api}/x"), &[], &vec![b'x'; 2 << 20]);
    table.better(
        "a body of 2 MiB",
        (&nginx.status(), "413"),
        (&relayd.status(), "200"),
    );
}

fn redirects(both: &Both, table: &mut Table) {
    let api = both.at("api.example.com");
    let with = [("Authorization", "Bearer x")];
    let (nginx, relayd) = both.ask("GET", &format!("/{api}/redirect"), &with, b"");
    table.equal(
        "a redirect is followed",
        &nginx.target(),
        &relayd.target(),
        "/landed",
    );
    table.better(
        "Authorization at another host after a redirect",
        (&nginx.upstream_header("authorization"), "Bearer x"),
        (&relayd.upstream_header("authorization"), "none"),
    );
    let (nginx, relayd) = both.ask("GET", &format!("/{api}/inside"), &[], b"");
    table.better(
        "a redirect to an address inside",
        (&nginx.target(), "/landed"),
        (&relayd.target(), "/inside"),
    );
    table.better(
        "... Location that the client sees",
        (&nginx.status(), "200"),
        (&format!("{} without", relayd.status()), "302 without"),
    );
    assert_eq!(relayd.header("location"), "none");
}

fn websockets(both: &Both, table: &mut Table) {
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "2.0"),
    ];
    let api = both.at("api.example.com");
    for (what, target) in [
        ("WebSocket by host", format!("/{api}/socket")),
        ("WebSocket of TRTC", "/ws/?sdkAppId=1".to_owned()),
        ("WebSocket of watchRTC", "/websocket?apiKey=1".to_owned()),
    ] {
        let talk = |mut client: Client, authority: &str| {
            let mut head = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n");
            for (name, value) in handshake {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            client.send(head + "\r\n");
            let answer = client.answer_head();
            if answer.status() != 101 {
                return answer.status().to_string();
            }
            let early = client.exactly(5);
            client.send("ping");
            let echo = client.exactly(4);
            let whole = early == b"early" && echo == b"ping";
            format!(
                "101, {}, {}",
                answer.one("sec-websocket-protocol").unwrap_or("none"),
                if whole { "whole" } else { "lost" }
            )
        };
        let nginx = talk(both.nginx.connect(), &both.nginx.authority());
        let relayd = talk(both.relayd.connect(), &both.relayd.authority());
        table.equal(what, &nginx, &relayd, "101, 2.0, whole");
    }
    let (nginx, relayd) = both.ask("GET", "/ws?sdkAppId=1", &handshake[..4], b"");
    table.better(
        "WebSocket of TRTC without the slash",
        (&nginx.status(), "301"),
        (&relayd.status(), "101"),
    );
}

fn framing(both: &Both, table: &mut Table) {
    let api = both.at("api.example.com");
    for (what, theirs, ours, lines) in [
        (
            "bare LF",
            "200",
            "400",
            "GET {target} HTTP/1.1\nHost: {own}\n\n",
        ),
        (
            "two lengths",
            "400",
            "400",
            "POST {target} HTTP/1.1\r\nHost: {own}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "two Hosts",
            "400",
            "400",
            "GET {target} HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n\r\n",
        ),
        ("no Host", "400", "400", "GET {target} HTTP/1.1\r\n\r\n"),
        (
            "TRACE",
            "405",
            "405",
            "TRACE {target} HTTP/1.1\r\nHost: {own}\r\n\r\n",
        ),
    ] {
        let lines = lines.replace("{target}", &format!("/{api}/x"));
        let status = |authority: &str, connect: &dyn Fn() -> Client| {
            both.exchange("GET", lines.replace("{own}", authority).as_bytes(), connect)
                .status()
        };
        let nginx = status(&both.nginx.authority(), &|| both.nginx.connect());
        let relayd = status(&both.relayd.authority(), &|| both.relayd.connect());
        if theirs == ours {
            table.equal(what, &nginx, &relayd, ours);
        } else {
            table.better(what, (&nginx, theirs), (&relayd, ours));
        }
    }
}

fn connections(both: &Both, table: &mut Table) {
    let api = both.at("api.example.com");
    let used = |mut client: Client, authority: &str| {
        let before = both.origin.connections();
        for _ in 0..8 {
            client.send(format!(
                "GET /{api}/x HTTP/1.1\r\nHost: {authority}\r\n\r\n"
            ));
            assert_eq!(client.answer().status(), 200);
        }
        both.origin.connections() - before
    };
    let nginx = used(both.nginx.connect(), &both.nginx.authority());
    let relayd = used(both.relayd.connect(), &both.relayd.authority());
    let at_most_one = |count: usize| {
        if count <= 1 {
            "at most 1".to_owned()
        } else {
            count.to_string()
        }
    };
    table.better(
        "TLS connections for 8 requests",
        (&at_most_one(nginx), "8"),
        (&at_most_one(relayd), "at most 1"),
    );

    let alpn = |client: Client| client.alpn().unwrap_or_else(|| "none".to_owned());
    let offered = ["h2", "http/1.1"];
    table.better(
        "protocol with a browser",
        (&alpn(both.nginx.connect_alpn(&offered)), "http/1.1"),
        (&alpn(both.relayd.connect_alpn(&offered)), "h2"),
    );
    assert!(find(both.nginx.errors().as_bytes(), b"[emerg]").is_none());
    let _: SocketAddr = both.relayd.admin;
}
