"""Every kind of answer, and what the caller is told to do about it."""

from __future__ import annotations

import gzip
import pickle
import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_server import Reply, ScriptedServer

from airflow_provider_customerly.client import (
    Client,
    CustomerlyAuthError,
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "s3cr3t-t0ken"
HTML = b"<html><title>nginx</title></html>"
PERMANENT = (CustomerlyAuthError, CustomerlyRequestError)


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password) + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with ScriptedServer(Reply(body={"data": []}), tls=context) as server:
        yield server.url


def error(message: object) -> dict[str, object]:
    return {"error": {"message": message, "code": 0}}


def fail(*replies: Reply, budget: float = 0.0, timeout: float = 30.0) -> tuple[CustomerlyError, int]:
    """Ask once; return what was raised and how many requests that took."""
    with (
        ScriptedServer(*replies) as server,
        Client(TOKEN, server.url, retry_budget=budget, timeout=timeout) as client,
    ):
        with pytest.raises(CustomerlyError) as caught:
            client.fetch_page("users", 3, 50)
        return caught.value, len(server.seen)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, error("Access token not found."), CustomerlyAuthError),
        (500, error("You must provide a valid header Authorization: Bearer <TOKEN>"), CustomerlyAuthError),
        (200, error("access TOKEN expired"), CustomerlyAuthError),
        (400, {"error": "Invalid token"}, CustomerlyAuthError),
        (500, error("The token's owner left the project"), CustomerlyAuthError),
        (500, error('The "access_token" is unknown: invalid_token'), CustomerlyAuthError),
        (400, error("attribute 'push_token' is longer than 128 characters"), CustomerlyRequestError),
        (400, error("`token` is no attribute of yours"), CustomerlyRequestError),
        (400, error("token@northwind.test is not valid"), CustomerlyRequestError),
        (401, error("no"), CustomerlyAuthError),
        (403, HTML, CustomerlyAuthError),
        (500, error("User doesn't exist"), CustomerlyUnavailable),
        (404, error("User doesn't exist"), CustomerlyRequestError),
        (404, HTML, CustomerlyRequestError),
        (404, {"message": "no route"}, CustomerlyRequestError),
        (400, error("per_page is wrong"), CustomerlyRequestError),
        (413, HTML, CustomerlyRequestError),
        (422, b"", CustomerlyRequestError),
        (429, error("slow down"), CustomerlyRateLimited),
        (429, error("Too many requests for this token"), CustomerlyRateLimited),
        (429, HTML, CustomerlyRateLimited),
        (408, b"", CustomerlyUnavailable),
        (500, error("Internal server error"), CustomerlyUnavailable),
        (502, HTML, CustomerlyUnavailable),
        (503, b"", CustomerlyUnavailable),
        (200, error("Something went wrong"), CustomerlyUnavailable),
        (200, {"error": {"code": 7}, "data": {"users": []}}, CustomerlyUnavailable),
        (200, HTML, CustomerlyProtocolError),
        (200, b"", CustomerlyProtocolError),
        (200, b'{"data":{"users":[{"a":1}', CustomerlyProtocolError),
        (200, {"dat": []}, CustomerlyProtocolError),
        (200, [], CustomerlyProtocolError),
        (200, {"data": {"users": 7}}, CustomerlyProtocolError),
        (200, {"data": {"people": []}}, CustomerlyProtocolError),
        (200, {"data": [1]}, CustomerlyProtocolError),
        (200, {"data": "x"}, CustomerlyProtocolError),
    ],
)
def test_answer_means(status: int, body: object, kind: type[CustomerlyError]) -> None:
    failure, requests = fail(Reply(status, body), budget=30 if issubclass(kind, PERMANENT) else 0)
    assert type(failure) is kind
    assert requests == 1
    assert str(failure).startswith("GET /users/list page=3: ")
    assert failure.request == "GET /users/list page=3"
    assert TOKEN not in str(failure)
    if kind is not CustomerlyProtocolError:
        assert failure.status == status
        assert f"HTTP {status}" in str(failure)


LOOK_UPS: list[Callable[[Client], object]] = [
    lambda client: client.get_contact("users", email="a@x.test"),
    lambda client: client.get_contact("users", user_id=7),
    lambda client: client.delete_contact("leads", email="a@x.test"),
]
LISTS_AND_UPSERTS: list[Callable[[Client], object]] = [
    lambda client: client.check(),
    lambda client: client.fetch_page("leads", 3, 50),
    lambda client: client.list_tags(),
    lambda client: client.upsert_contacts("leads", [{}]),
]
NOT_FOUND = [
    "User doesn't exist",
    "User doesn\u2019t exist",
    "The lead does not exist.",
    "User not found",
    "Not found",
    "No such user",
    "no such contact: a@x.test",
    "This contact could not be found",
    "We couldn't find that user",
    "Unknown user",
    "No user found with this email",
]


def raised(ask: Callable[[Client], object], reply: Reply, budget: float = 0.0) -> CustomerlyError:
    with ScriptedServer(reply) as server, Client(TOKEN, server.url, retry_budget=budget) as client:
        with pytest.raises(CustomerlyError) as caught:
            ask(client)
        return caught.value


@pytest.mark.parametrize("message", NOT_FOUND)
def test_whatever_words_say_not_found_a_look_up_is_told_so_at_any_status(message: str) -> None:
    for number, status in enumerate((200, 400, 404, 422, 500)):
        ask = LOOK_UPS[number % len(LOOK_UPS)]
        assert type(raised(ask, Reply(status, error(message)), budget=30)) is CustomerlyNotFound, status


@pytest.mark.parametrize("ask", LISTS_AND_UPSERTS)
@pytest.mark.parametrize("message", ["", "User doesn't exist", "not found"])
def test_a_list_or_an_upsert_is_never_told_that_a_contact_is_missing(
    ask: Callable[[Client], object], message: str
) -> None:
    kinds = {404: CustomerlyRequestError, 400: CustomerlyRequestError, 500: CustomerlyUnavailable}
    for status, kind in kinds.items():
        assert type(raised(ask, Reply(status, error(message)))) is kind
    failure = raised(ask, Reply(404, error(message)))
    assert "Check the path in the connection's host. The API is at https://api.customerly.io/v1" in str(
        failure
    )


@pytest.mark.parametrize(
    "message",
    [
        "SQLSTATE[42S02]: Base table or view not found: 1146 Table 'app.users' doesn't exist",
        "Table 'app.users' doesn't exist",
        'Class "App\\Models\\User" not found',
        "No such table: users",
        "no such file or directory",
        "Project not found",
        "The route users/get could not be found.",
        "Database server was not found",
        "Upstream not found",
    ],
)
def test_a_missing_part_of_the_service_is_not_a_missing_contact(message: str) -> None:
    for status, kind in {500: CustomerlyUnavailable, 404: CustomerlyRequestError}.items():
        assert type(raised(LOOK_UPS[0], Reply(status, error(message)))) is kind


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_gateway_does_not_find_is_not_a_contact(status: int) -> None:
    assert type(raised(LOOK_UPS[0], Reply(status, error("Not found")))) is CustomerlyUnavailable


def test_a_page_that_is_not_the_apis_says_nothing_of_a_contact() -> None:
    for body in (HTML, b"", {"message": "Not found"}):
        failure = raised(LOOK_UPS[0], Reply(404, body))
        assert type(failure) is CustomerlyRequestError
        assert "not by the API" in str(failure)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get_contact("users", email="a@x.test"),
        lambda client: client.delete_contact("leads", email="a@x.test"),
        lambda client: client.unsubscribe_user(7),
        lambda client: client.tag("vip", users=[{"user_id": 7}]),
    ],
)
def test_not_found_without_words_is_a_missing_contact_where_one_is_named(
    ask: Callable[[Client], object],
) -> None:
    failure = raised(ask, Reply(404, error("")))
    assert type(failure) is CustomerlyNotFound
    assert "Check the email or id" in str(failure)


@pytest.mark.parametrize(
    "message",
    [
        "an attributes.token is too long",
        "attributes.access_token is too long",
        "attributes.token is invalid",
        "The tag 'Invalid token' is not valid",
        "tag token not found",
        "text was tokenised",
        "the push token is invalid",
        "Unexpected token < in JSON at position 0",
        'syntax error, unexpected token ")"',
        "name: your token field is missing",
        "access-token@northwind.test is not valid",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_token_that_is_data_is_not_a_dead_credential(message: str, status: int) -> None:
    kind = CustomerlyRequestError if status == 400 else CustomerlyUnavailable
    assert type(fail(Reply(status, error(message)))[0]) is kind


@pytest.mark.parametrize(
    "message",
    [
        "Access token not found.",
        "You must provide a valid header Authorization: Bearer <TOKEN>",
        "Token has expired",
        "Token not found",
        "The API token was revoked",
        "Missing token",
        "Your token is not valid for this project",
        "Malformed Authorization header",
    ],
)
def test_a_dead_token_is_permanent_at_any_status(message: str) -> None:
    for status in (200, 400, 404, 422, 500, 503):
        failure, requests = fail(Reply(status, error(message)), budget=30)
        assert (type(failure), requests) == (CustomerlyAuthError, 1)


@pytest.mark.parametrize(
    "data", [{"users": []}, {"users": {}}, {"users": None}, [], {}, None], ids=lambda data: str(data)
)
@pytest.mark.parametrize("no_error", [{}, {"error": None}, {"error": []}], ids=str)
def test_empty_maps_and_lists_are_an_empty_page(data: object, no_error: dict[str, object]) -> None:
    with (
        ScriptedServer(Reply(body={"data": data, **no_error})) as server,
        Client(TOKEN, server.url) as client,
    ):
        assert bytes(client.fetch_page("users", 0, 50)) == b"[]"


def test_an_array_that_php_wrote_with_gaps_is_a_page() -> None:
    body = b'{"data":{"users":{"0":{"a":1},"7":{"a":2}}}}'
    with ScriptedServer(Reply(body=body)) as server, Client(TOKEN, server.url) as client:
        assert bytes(client.fetch_page("users", 0, 50)) == b'[{"a":1},{"a":2}]'


@pytest.mark.parametrize("data", [b"false", b"[]", b"{}", b"null", b'""', b"0"])
def test_no_data_for_a_look_up_is_nobody(data: bytes) -> None:
    assert type(raised(LOOK_UPS[0], Reply(body=b'{"data":' + data + b"}"))) is CustomerlyNotFound


@pytest.mark.parametrize("odd", [rb'"\ud83d"', b'"\xff"', b"NaN", b"1e999", b"[" * 2_000 + b"]" * 2_000])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_odd_value_costs_no_answer(odd: bytes, mark: bytes, caplog: pytest.LogCaptureFixture) -> None:
    body = mark + b'{"data":{"name":%b,"email":"a@x.test"},"error":null}' % odd
    with ScriptedServer(Reply(body=body)) as server, Client(TOKEN, server.url, retry_budget=0) as client:
        assert client.get_contact("users", user_id=7)["email"] == "a@x.test"
    assert "x.test" not in caplog.text
    failure, _ = fail(Reply(400, b'{"error":{"message":%b,"code":0}}' % odd))
    assert type(failure) is CustomerlyRequestError
    assert str(failure).isprintable()
    assert len(str(failure)) < 500


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_body_arrives_whole_and_the_connection_is_used_again(chunked: bool, compressed: bool) -> None:
    rows = b"[" + b",".join(b'{"crmhero_user_id":%d}' % i for i in range(40_000)) + b"]"
    body = b'{"data":{"users":' + rows + b"}}"
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    reply = Reply(
        body=gzip.compress(body) if compressed else body, headers=headers, chunked=chunked, pieces=3
    )
    with ScriptedServer(reply) as server, Client(TOKEN, server.url) as client:
        assert bytes(client.fetch_page("users", 0, 100)) == rows
        assert bytes(client.fetch_page("users", 1, 100)) == rows
        assert len({seen.connection for seen in server.seen}) == 1


@pytest.mark.parametrize("before", [-2, -1, 0, 1])
def test_a_gzip_member_may_begin_where_a_piece_ends(before: int) -> None:
    """Pieces of 256 KiB are received. The name of a file in its header gives a member any length."""
    plain = gzip.compress(b" ")
    name = b"a" * ((1 << 18) + before - len(plain) - 1) + b"\0"
    first = plain[:3] + b"\x08" + plain[4:10] + name + plain[10:]
    rest = gzip.compress(b'{"data":{"users":[1]}}')
    reply = Reply(body=first + rest, headers={"Content-Encoding": "gzip"})
    with ScriptedServer(reply) as server, Client(TOKEN, server.url) as client:
        assert bytes(client.fetch_page("users", 0, 50)) == b"[1]"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body={"data": {"users": []}}, cut=5),
        Reply(body={"data": {"users": []}}, cut=1, chunked=True),
        Reply(body=gzip.compress(b'{"data":{"users":[]}}')[:-12], headers={"Content-Encoding": "gzip"}),
        Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["cut", "cut chunks", "cut gzip", "broken gzip"],
)
def test_cut_body_is_tried_again(reply: Reply) -> None:
    good = Reply(body={"data": {"users": [1]}})
    with ScriptedServer(reply, good) as server, Client(TOKEN, server.url) as client:
        assert bytes(client.fetch_page("users", 0, 50)) == b"[1]"
        assert (client.requests_sent, client.retries) == (2, 1)
    failure, _ = fail(reply)
    assert type(failure) is CustomerlyProtocolError


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with ScriptedServer(Reply(body={"data": {"users": []}})) as elsewhere:
        failure, requests = fail(
            Reply(status, headers={"Location": f"{elsewhere.url}/users/list"}), budget=30
        )
        assert type(failure) is CustomerlyRequestError
        assert "host" in str(failure)
        assert requests == 1
        assert elsewhere.seen == []


def test_no_cookie_is_kept() -> None:
    reply = Reply(body={"data": {"users": []}}, headers={"Set-Cookie": "PHPSESSID=abc; Path=/"})
    with ScriptedServer(reply) as server, Client(TOKEN, server.url) as client:
        client.check()
        client.check()
        assert "Cookie" not in server.seen[1].headers


def test_connection_lost_without_an_answer() -> None:
    failure, _ = fail(Reply(hang_up=True))
    assert type(failure) is CustomerlyUnavailable
    assert failure.status is None


def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Client(TOKEN, f"http://127.0.0.1:{unused.getsockname()[1]}/v1", retry_budget=0)
        with pytest.raises(CustomerlyUnavailable, match="Connection refused") as caught:
            client.get_contact("users", email="ada@northwind.test")
    assert "northwind" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_silent_server() -> None:
    release = threading.Event()
    failure, _ = fail(Reply(hold=release), timeout=0.2)
    release.set()
    assert type(failure) is CustomerlyUnavailable
    assert "timed out" in str(failure)


def test_dripping_answer_is_given_up() -> None:
    body = {"data": {"users": ["x" * 1000]}}
    failure, _ = fail(Reply(body=body, pieces=1000, pause=0.05), timeout=0.2)
    assert type(failure) is CustomerlyUnavailable
    assert "timed out" in str(failure)


def test_certificate_that_cannot_be_checked_is_permanent(tls_url: str) -> None:
    client = Client(TOKEN, tls_url, retry_budget=30)
    with pytest.raises(CustomerlyRequestError, match="certificate"):
        client.check()
    assert client.requests_sent == 1


def test_plain_http_behind_an_https_address_is_unavailable() -> None:
    with ScriptedServer(Reply(body={"data": {"users": []}})) as server:
        client = Client(TOKEN, server.url.replace("http://", "https://"), retry_budget=0)
        with pytest.raises(CustomerlyUnavailable):
            client.check()


def test_vendor_message_is_redacted_and_capped() -> None:
    words = f"ada.byrne+x@northwind.test ada%40northwind.test key {TOKEN[:4]}\n" + "x" * 10_000
    failure, _ = fail(Reply(400, error(words)), budget=30)
    assert failure.vendor_message is not None
    assert failure.vendor_message.startswith("<email> <email> key")
    assert "northwind" not in str(failure)
    assert len(str(failure)) < 500


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("maria.o'neill@northwind.test is not valid", "<email> is not valid"),
        ('"ada byrne"@northwind.test is not valid', "<email> is not valid"),
        ("bounce+ada=northwind.test@mailer.test is not valid", "<email> is not valid"),
        ("'ada@northwind.test' is not valid", "<email>' is not valid"),
        ({"text": '"ada byrne"@northwind.test', "row": 7}, '{"text":"\\<email>","row":7}'),
        ("%22ada+x%22%40northwind.test", "<email>"),
        ({"emails": ["ada@northwind.test", "bo@northwind.test"]}, '{"emails":["<email>","<email>"]}'),
    ],
)
def test_every_legal_email_is_redacted_whole(words: object, shown: str) -> None:
    failure, _ = fail(Reply(400, error(words)))
    assert failure.vendor_message == shown


CONTROLS = "\x00\x07\x1b[2K\x1b]0;owned\x07\u200b\u202e\u2066\u2028\u061c\ufeff\x85\x9b\ue000\U000e0041"


def test_nothing_that_acts_on_a_terminal_is_shown_of_the_vendors_words() -> None:
    for body in (
        error(f"bad{CONTROLS} request\nINFO - all good"),
        {"error": {"k" + CONTROLS: ["v" + CONTROLS]}},
    ):
        failure, _ = fail(Reply(400, body))
        assert str(failure).isprintable()
        assert failure.vendor_message is not None
        assert failure.vendor_message.isprintable()
    assert "bad" in str(fail(Reply(400, error(f"bad{CONTROLS}")))[0])


def test_invisible_characters_hide_neither_a_token_nor_an_email() -> None:
    split = "\u200b".join(TOKEN)
    failure, _ = fail(Reply(400, error(f"{split} {TOKEN.upper()} ada\u200d@north\u00adwind.test")))
    assert failure.vendor_message == "<token> <token> <email>"


def test_token_that_the_server_repeats_is_not_shown() -> None:
    failure, _ = fail(Reply(400, error(f"bad credential {TOKEN}!")))
    assert failure.vendor_message == "bad credential <token>!"


def test_token_that_needs_escaping_is_not_shown_either() -> None:
    token = 'tok"en/ab+c'
    with (
        ScriptedServer(Reply(400, {"error": {"detail": f"Bearer {token}"}})) as server,
        Client(token, server.url, retry_budget=0) as client,
        pytest.raises(CustomerlyError) as caught,
    ):
        client.check()
    assert caught.value.vendor_message == '{"detail":"Bearer <token>"}'


def test_unknown_error_shape_is_quoted() -> None:
    failure, _ = fail(Reply(400, {"error": ["a", {"b": 1}]}))
    assert failure.vendor_message == '["a",{"b":1}]'


def test_errors_survive_pickling() -> None:
    failure, _ = fail(Reply(429, error("slow down"), headers={"Retry-After": "7"}))
    copy = pickle.loads(pickle.dumps(failure))
    assert type(copy) is CustomerlyRateLimited
    assert str(copy) == str(failure)
    assert (copy.status, copy.vendor_message, copy.request, copy.retry_after) == (
        429, "slow down", "GET /users/list page=3", 7.0,
    )  # fmt: skip
