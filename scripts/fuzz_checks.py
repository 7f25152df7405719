"""What scripts/fuzz-api holds an answer to beyond schemathesis's own checks.

A 503 is an answer of the contract where the read model was asked for something that it does not have yet: then it
carries one of these codes and says when to ask again. Any other 5xx is a fault.
"""
import schemathesis

# Nothing here is worth a longer wait: what is asked for is never on its way.
WAIT_MS_MAX = 200
WAITS = {"not_yet_applied", "not_settled"}


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Waits shortly where the document lets it wait long. A value that the document forbids stays what it is."""
    query = case.query or {}
    headers = {name.lower() for name in case.headers or {}}
    asked = query.get("timeout_ms")
    if asked is None and ("after" in query or "wait" in query or "x-tradewind-after" in headers):
        case.query = {**query, "timeout_ms": WAIT_MS_MAX}
    elif str(asked).isascii() and str(asked).isdigit() and WAIT_MS_MAX < int(asked) <= 60_000:
        case.query = {**query, "timeout_ms": WAIT_MS_MAX}


@schemathesis.check
def waits_and_no_server_errors(ctx, response, case):
    if response.status_code < 500:
        return
    code = response.json().get("code") if "json" in response.headers.get("content-type", [""])[0] else None
    assert response.status_code == 503 and code in WAITS, f"{response.status_code} {code}: {response.text[:300]}"
    assert response.headers.get("retry-after"), f"{code} does not say when to ask again"
