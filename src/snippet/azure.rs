//! Azure Communication Services Calling.
//!
//! Web: `CallClientOptions.networkConfiguration` of @azure/communication-calling 1.25.1 and later. Native: Microsoft's
//! proxy tutorial for iOS, Android and Windows, and its reference of `IceServer` and `CallNetworkOptions`.

use super::code::{ice_servers, quoted};
use super::{Facts, Language, Written};

/// What stands for an address that is not known.
const PLACEHOLDER_IPV4: &str = "YOUR_RELAYD_IPV4";

pub fn web(facts: &Facts) -> Written {
    let host = facts.url_host();
    let by_name = !facts.host_is_address();
    let url = |port: Option<u16>, transport: &str| {
        port.map(|port| format!("turn:{host}:{port}?transport={transport}"))
    };
    let urls: Vec<String> = [
        url(facts.udp_port(), "udp"),
        url(facts.tcp_port(), "tcp"),
        url(facts.tls_port().filter(|_| by_name), "tls"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut problems = Vec::new();
    if !by_name {
        problems.push(
            "TURN over TLS is left out: the SDK makes an empty URL of an address and the call ends; give the server a name (server.domain)"
                .to_owned(),
        );
    }
    Written {
        code: format!(
            "\
import {{ CallClient }} from \"@azure/communication-calling\";

const callClient = new CallClient({{
  networkConfiguration: {{
    proxy: {{ url: {proxy} }},
    turn: {{
      iceServers: {servers},
    }},
  }},
}});",
            proxy = super::code::js(&format!("https://{}", facts.base())),
            servers = ice_servers(facts, &urls, 6),
        ),
        limits: vec![
            "the SDK writes TURN over TLS as turn: with transport=tls, not as turns:.".to_owned(),
            "it uses these TURN servers only where Azure's remote configuration allows it (enableCustomTurnUsage), which it fetches through the proxy; then all media goes through them.".to_owned(),
            "not for Teams identities and Teams meetings (Microsoft's limit).".to_owned(),
        ],
        problems,
    }
}

/// What all native SDKs share.
struct Native {
    ipv4: String,
    port: u16,
    proxy: String,
    written: Written,
}

fn native(facts: &Facts) -> Native {
    let mut problems = Vec::new();
    if facts.ipv4.is_none() {
        problems.push(
            "this server's public IPv4 address is not known here: put it in, or set server.external_ip"
                .to_owned(),
        );
    }
    if facts.udp.is_empty() {
        problems.push(
            "nothing listens on UDP, and this SDK uses no other transport: set udp in [listen]"
                .to_owned(),
        );
    }
    Native {
        ipv4: facts
            .ipv4
            .map_or_else(|| PLACEHOLDER_IPV4.to_owned(), |ip| ip.to_string()),
        port: facts.udp_port().unwrap_or(3478),
        proxy: format!("https://{}", facts.base()),
        written: Written {
            code: String::new(),
            limits: vec![
                "one TURN server, by IPv4 address, over UDP, with its realm: other URLs are ignored or refused (Microsoft's documentation).".to_owned(),
                "not for Teams identities and Teams meetings (Microsoft's limit).".to_owned(),
            ],
            problems,
        },
    }
}

pub fn ios(facts: &Facts) -> Written {
    let Native {
        ipv4,
        port,
        proxy,
        written,
    } = native(facts);
    let quoted = |text: &str| quoted(text, Language::Swift);
    let code = format!(
        "\
import AzureCommunicationCalling

let iceServer = IceServer()
iceServer.urls = [{url}]
iceServer.udpPort = {port}
iceServer.realm = {realm}
iceServer.username = {username}
iceServer.password = {password}

let callNetworkOptions = CallNetworkOptions()
callNetworkOptions.proxyUrl = {proxy}
callNetworkOptions.iceServers = [iceServer]

let callClientOptions = CallClientOptions()
callClientOptions.network = callNetworkOptions
let callClient = CallClient(options: callClientOptions)",
        url = quoted(&format!("turn:{ipv4}")),
        realm = quoted(&facts.realm),
        username = quoted(&facts.login.username),
        password = quoted(facts.login.password.expose()),
        proxy = quoted(&proxy),
    );
    Written { code, ..written }
}

pub fn android(facts: &Facts) -> Written {
    let Native {
        ipv4,
        port,
        proxy,
        written,
    } = native(facts);
    let quoted = |text: &str| quoted(text, Language::Java);
    let code = format!(
        "\
import com.azure.android.communication.calling.*;
import java.util.Arrays;

IceServer iceServer = new IceServer();
iceServer.setUrls(Arrays.asList({url}));
iceServer.setUdpPort({port});
iceServer.setRealm({realm});
iceServer.setUsername({username});
iceServer.setPassword({password});

CallNetworkOptions callNetworkOptions = new CallNetworkOptions();
callNetworkOptions.setProxyUrl({proxy});
callNetworkOptions.setIceServers(Arrays.asList(iceServer));

CallClientOptions callClientOptions = new CallClientOptions();
callClientOptions.setNetwork(callNetworkOptions);
CallClient callClient = new CallClient(callClientOptions);",
        url = quoted(&format!("turn:{ipv4}")),
        realm = quoted(&facts.realm),
        username = quoted(&facts.login.username),
        password = quoted(facts.login.password.expose()),
        proxy = quoted(&proxy),
    );
    Written { code, ..written }
}

pub fn windows(facts: &Facts) -> Written {
    let Native {
        ipv4,
        port,
        proxy,
        written,
    } = native(facts);
    let quoted = |text: &str| quoted(text, Language::CSharp);
    let code = format!(
        "\
using Azure.Communication.Calling.WindowsClient;

var iceServer = new IceServer();
iceServer.Uris = new List<Uri>() {{ new Uri({url}) }}.AsReadOnly();
iceServer.UdpPort = {port};
iceServer.Realm = {realm};
iceServer.Username = {username};
iceServer.Password = {password};

var callNetworkOptions = new CallNetworkOptions();
callNetworkOptions.ProxyUri = new Uri({proxy});
callNetworkOptions.IceServers = new List<IceServer>() {{ iceServer }}.AsReadOnly();

var callClientOptions = new CallClientOptions();
callClientOptions.Network = callNetworkOptions;
var callClient = new CallClient(callClientOptions);",
        url = quoted(&format!("turn:{ipv4}")),
        realm = quoted(&facts.realm),
        username = quoted(&facts.login.username),
        password = quoted(facts.login.password.expose()),
        proxy = quoted(&proxy),
    );
    Written { code, ..written }
}
