//! The description against the answers: every path, method and status of `/openapi.json` is asked for, and every answer is held
//! against its schema.

use crate::api::{Answer, Api, until};
use crate::quality::rtp;
use crate::support::client::{Client, Kind, Wire};
use crate::tunnels::{echoing, open};
use crate::web::relayd::Relayd;
use boon::{Compiler, Draft, Schemas};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const TOKEN: &str = "correct-horse-battery-staple";

/// What no test can bring about in a server that works: its workers do not answer.
const NEVER_SEEN: [(&str, &str, &str); 17] = [
    ("/allocations", "get", "503"),
    ("/allocations", "delete", "503"),
    ("/allocations/{id}", "get", "503"),
    ("/allocations/{id}", "delete", "503"),
    ("/tunnels", "get", "503"),
    ("/tunnels", "delete", "503"),
    ("/tunnels/{id}", "get", "503"),
    ("/tunnels/{id}", "delete", "503"),
    ("/stats", "get", "503"),
    ("/history", "get", "503"),
    ("/config", "get", "503"),
    ("/log-level", "get", "503"),
    ("/log-level", "put", "503"),
    ("/drain", "get", "503"),
    ("/drain", "post", "503"),
    ("/drain", "delete", "503"),
    // A server that starts is asked nothing yet.
    ("/readyz", "get", "starting"),
];

/// Served without a token, as health is.
const DASHBOARD: [&str; 3] = ["/", "/dashboard.css", "/dashboard.js"];

/// The description, and what of it has been seen.
pub struct Contract {
    description: Value,
    seen: BTreeSet<(String, String, String)>,
}

impl Contract {
    pub fn of(api: &Api) -> Self {
        let answer = api.get("/openapi.json");
        assert_eq!(answer.status, 200);
        let description = answer.json();
        assert_eq!(description["openapi"], "3.1.0");
        Self {
            description,
            seen: BTreeSet::new(),
        }
    }

    /// Asks, and holds the answer against the description of `template`.
    pub fn ask(
        &mut self,
        api: &Api,
        method: &str,
        template: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let answer = api.ask(method, target, headers, body.as_bytes());
        let (method, status) = (method.to_ascii_lowercase(), answer.status.to_string());
        let operation = &self.description["paths"][template][&method];
        let response = self.resolved(&operation["responses"][&status]);
        assert!(
            response.is_object(),
            "{method} {target}: {status} is not described: {answer:?}"
        );
        self.seen
            .insert((template.to_owned(), method.clone(), status.clone()));
        if status == "304" {
            assert_eq!(answer.body, "");
            return answer;
        }
        let content = response["content"]
            .as_object()
            .expect("every other answer has a body");
        let (media_type, content) = content.iter().next().expect("one media type");
        let sent = answer.header("content-type").expect("a media type");
        assert!(
            sent.starts_with(media_type.as_str()),
            "{sent}, not {media_type}"
        );
        let body = match media_type.as_str() {
            "application/json" => answer.json(),
            _ => Value::from(answer.body.clone()),
        };
        let fault = self.fault(&content["schema"], &body);
        assert_eq!(fault, None, "{method} {target} {status}: {body:#}");
        // The dashboard's files are asked about each time: an upgrade shows at once.
        let caching = match answer.header("etag") {
            Some(_) => "no-cache",
            None => "no-store",
        };
        assert_eq!(answer.header("cache-control"), Some(caching));
        answer
    }

    pub fn get(&mut self, api: &Api, path: &str) -> Value {
        let answer = self.ask(api, "GET", path, path, &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        match answer.header("content-type") {
            Some("application/json") => answer.json(),
            _ => Value::Null,
        }
    }

    fn resolved(&self, value: &Value) -> Value {
        let Some(reference) = value["$ref"].as_str() else {
            return value.clone();
        };
        let pointer = reference.strip_prefix('#').expect("references are local");
        let found = self.description.pointer(pointer);
        found
            .unwrap_or_else(|| panic!("{reference} leads nowhere"))
            .clone()
    }

    /// What is wrong with an instance; nothing is what is wanted.
    fn fault(&self, schema: &Value, instance: &Value) -> Option<String> {
        const PLACE: &str = "http://relayd.test/schema.json";
        let mut whole = schema.clone();
        // References lead to here.
        whole["components"] = self.description["components"].clone();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.set_default_draft(Draft::V2020_12);
        compiler.add_resource(PLACE, whole).expect("a resource");
        let compiled = compiler
            .compile(PLACE, &mut schemas)
            .expect("a valid schema");
        let validated = schemas.validate(instance, compiled);
        validated.err().map(|fault| format!("{fault:#}"))
    }

    /// Every path with every method: (path, method).
    fn operations(&self) -> Vec<(String, String)> {
        let paths = self.description["paths"].as_object().expect("paths");
        let pairs = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (path.clone(), method.to_ascii_uppercase()))
        });
        pairs.collect()
    }

    fn unseen(&self) -> Vec<(String, String, String)> {
        let paths = self.description["paths"].as_object().expect("paths");
        let mut unseen = Vec::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().expect("methods") {
                for status in operation["responses"]
                    .as_object()
                    .expect("responses")
                    .keys()
                {
                    let triple = (path.clone(), method.clone(), status.clone());
                    let excused = NEVER_SEEN
                        .iter()
                        .any(|(p, m, s)| (*p, *m, *s) == (&*triple.0, &*triple.1, &*triple.2));
                    if !self.seen.contains(&triple) && !excused {
                        unseen.push(triple);
                    }
                }
            }
        }
        unseen
    }

    /// What the description says that a route's query may have.
    fn parameters(&self, template: &str, method: &str) -> BTreeSet<String> {
        let operation = &self.description["paths"][template][method.to_ascii_lowercase()];
        let all = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let all = all.iter().map(|parameter| self.resolved(parameter));
        all.filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

#[test]
fn every_answer_that_is_described_is_given_as_it_is_described() {
    let (_origin, relayd) = echoing("", Vec::new());
    let api = Api::new(relayd.admin);
    let mut contract = Contract::of(&api);
    let ended = json!({"$ref": "#/components/schemas/Ended"});
    for wrong in [
        json!({}),
        json!({"ended": -1}),
        json!({"ended": 1, "more": 1}),
    ] {
        assert!(
            contract.fault(&ended, &wrong).is_some(),
            "{wrong} would pass"
        );
    }
    let mut client = turn_client(&relayd);
    let relayed = client.allocate().expect("allocated");
    media(&api, &mut client, relayed);
    let _tunnel = open(&relayd, "a.example.com");

    answers_of_a_server_that_works(&mut contract, &api);
    refusals(&mut contract, &api);
    refusals_for_the_token(&mut contract);
    reloads(&mut contract, &api, &relayd);
    endings(&mut contract, &api);
    answers_of_a_server_that_drains(&mut contract, &api, &relayd, &mut client);
    assert_eq!(contract.unseen(), Vec::new());
}

/// What a route takes is what it is described to take: it tells when it is asked for something else.
#[test]
fn every_described_parameter_is_taken_and_no_other() {
    let (_origin, relayd) = echoing("", Vec::new());
    let api = Api::new(relayd.admin);
    let contract = Contract::of(&api);
    for (path, method) in contract.operations() {
        let described = contract.parameters(&path, &method);
        let target = path.replace("{id}", "1");
        let answer = api.ask(&method, &format!("{target}?nonsense=1"), &[], b"");
        if described.is_empty() && answer.status != 400 {
            continue;
        }
        let message = answer.json()["error"]["message"]
            .as_str()
            .expect("a text")
            .to_owned();
        let accepted = message
            .rsplit_once("accepted: ")
            .map_or("", |(_, list)| list);
        let mut names: BTreeSet<String> = accepted.split(", ").map(str::to_owned).collect();
        names.remove("none");
        assert_eq!(names, described, "{method} {path}");
    }
}

fn turn_client(relayd: &Relayd) -> Client {
    let wire = Wire::open(Kind::Udp, relayd.udp).expect("a socket");
    Client::new(wire, "test", "test password")
}

/// A stream from the client to itself, so that each side has something to show.
fn media(api: &Api, client: &mut Client, relayed: SocketAddr) {
    client.bind_channel(0x4000, relayed).expect("bound");
    for n in 0..4 {
        let packet = rtp(7, n, 0);
        client.send_channel(0x4000, &packet).expect("sent");
    }
    until("the call is measured", || {
        let page = api.get("/allocations").json();
        let peer = &page["allocations"][0]["quality"]["peer"];
        (peer["packets"]["rtp"] == 4).then_some(())
    });
}

fn answers_of_a_server_that_works(contract: &mut Contract, api: &Api) {
    for path in [
        "/healthz",
        "/readyz",
        "/version",
        "/metrics",
        "/openapi.json",
        "/stats",
        "/history",
        "/config",
        "/log-level",
        "/drain",
    ] {
        contract.get(api, path);
    }
    for path in DASHBOARD {
        let first = contract.ask(api, "GET", path, path, &[], "");
        let tag = first.header("etag").expect("a tag");
        let known = [("If-None-Match", tag)];
        assert_eq!(contract.ask(api, "GET", path, path, &known, "").status, 304);
    }
    for (list, one) in [
        ("/allocations", "/allocations/{id}"),
        ("/tunnels", "/tunnels/{id}"),
    ] {
        let page = contract.get(api, list);
        let id = page[&list[1..]][0]["id"].clone();
        assert!(id.is_u64(), "{page}");
        contract.ask(
            api,
            "GET",
            one,
            &one.replace("{id}", &id.to_string()),
            &[],
            "",
        );
    }
    let id = contract.get(api, "/allocations")["allocations"][0]["id"].to_string();
    let one = api.get(&format!("/allocations/{id}")).json();
    let streams = &one["allocation"]["quality"]["streams"];
    assert_eq!(streams.as_array().map(Vec::len), Some(2), "{one}");
    let json = [("Content-Type", "application/json")];
    let level = json!({"level": "info"}).to_string();
    let set = contract.ask(api, "PUT", "/log-level", "/log-level", &json, &level);
    assert_eq!(set.status, 200);
}

/// A foreign Host, a foreign page, a bad parameter, a bad ID, a missing thing, a body too large or of another type.
fn refusals(contract: &mut Contract, api: &Api) {
    let large = "x".repeat(20 << 10);
    for (path, method) in contract.operations() {
        let target = path.replace("{id}", "999999999");
        let foreign = [("Host", "evil.example")];
        let refused = contract.ask(api, &method, &path, &target, &foreign, "");
        assert_eq!(refused.status, 403, "{method} {path}");
        if path.contains("{id}") {
            let bad = path.replace("{id}", "seven");
            assert_eq!(contract.ask(api, &method, &path, &bad, &[], "").status, 400);
            assert_eq!(
                contract.ask(api, &method, &path, &target, &[], "").status,
                404
            );
        } else if contract.description["paths"][&path][method.to_lowercase()]["responses"]["400"]
            .is_object()
        {
            let bad = format!("{target}?nonsense=1");
            assert_eq!(contract.ask(api, &method, &path, &bad, &[], "").status, 400);
        }
        if method != "GET" {
            let foreign = [("Origin", "https://evil.example")];
            assert_eq!(
                contract
                    .ask(api, &method, &path, &target, &foreign, "")
                    .status,
                403
            );
            assert_eq!(
                contract
                    .ask(api, &method, &path, &target, &[], &large)
                    .status,
                413
            );
        }
    }
    let text = [("Content-Type", "text/plain")];
    let refused = contract.ask(api, "PUT", "/log-level", "/log-level", &text, "debug");
    assert_eq!(refused.status, 415);
}

fn refusals_for_the_token(contract: &mut Contract) {
    let files = vec![("admin.token", TOKEN.to_owned())];
    let (_origin, relayd) = echoing("token = \"file:admin.token\"", files);
    let stranger = Api::new(relayd.admin);
    // One after the other until the listener has had enough: 401 first, for some of them 429 then.
    let operations = contract.operations();
    let closed = operations
        .iter()
        .filter(|(path, _)| !matches!(path.as_str(), "/healthz" | "/readyz"))
        .filter(|(path, _)| !DASHBOARD.contains(&path.as_str()));
    for (path, method) in closed.clone() {
        let target = path.replace("{id}", "1");
        until("a 401", || {
            let answer = contract.ask(&stranger, method, path, &target, &[], "");
            (answer.status == 401).then_some(())
        });
    }
    for (path, method) in closed {
        let target = path.replace("{id}", "1");
        until("a 429", || {
            let answer = contract.ask(&stranger, method, path, &target, &[], "");
            (answer.status == 429).then_some(())
        });
    }
}

/// Of a file that changes something, of one with a mistake, and of the first one again.
fn reloads(contract: &mut Contract, api: &Api, relayd: &Relayd) {
    let file = relayd.directory().join("relay.toml");
    let first = std::fs::read_to_string(&file).expect("the configuration");
    let another = first.replace("drain_timeout = \"5s\"", "drain_timeout = \"6s\"");
    for (text, status) in [
        (&another, 200),
        (&format!("{first}\nnonsense = 1\n"), 422),
        (&first, 200),
    ] {
        std::fs::write(&file, text).expect("written");
        let answer = contract.ask(api, "POST", "/reload", "/reload", &[], "");
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

fn endings(contract: &mut Contract, api: &Api) {
    for (list, one) in [
        ("/allocations", "/allocations/{id}"),
        ("/tunnels", "/tunnels/{id}"),
    ] {
        let page = contract.get(api, list);
        let id = page[&list[1..]][0]["id"].to_string();
        let ended = contract.ask(api, "DELETE", one, &one.replace("{id}", &id), &[], "");
        assert_eq!(ended.json()["ended"], 1);
        let all = format!("{list}?all=true");
        assert_eq!(contract.ask(api, "DELETE", list, &all, &[], "").status, 200);
    }
}

fn answers_of_a_server_that_drains(
    contract: &mut Contract,
    api: &Api,
    relayd: &Relayd,
    client: &mut Client,
) {
    client.allocate().expect("the 5-tuple is free again");
    for method in ["POST", "DELETE", "POST"] {
        let answer = contract.ask(api, method, "/drain", "/drain", &[], "");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(
        contract
            .ask(api, "GET", "/readyz", "/readyz", &[], "")
            .status,
        503
    );
    relayd.signal("TERM");
    until("the stop is told", || {
        (contract.get(api, "/drain")["stopping"] == true).then_some(())
    });
    let late = contract.ask(api, "DELETE", "/drain", "/drain", &[], "");
    assert_eq!(late.status, 409);
    let late = contract.ask(api, "POST", "/reload", "/reload", &[], "");
    assert_eq!(late.status, 503);
}
