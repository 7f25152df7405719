"""Places an order and reads it by clients that openapi-python-client generated. Prints what it was answered, as JSON.

Run by openapi.rs: <folder of the clients> <URL of the command side> <of the query side> <of the provider> <order id>
"""
import json
import sys
import uuid

folder, commands_url, queries_url, provider_url, order_id = sys.argv[1:]
sys.path.insert(0, folder)

import commands
import commands.models
import provider
import provider.models
import queries
from commands.api.orders import place
from commands.api.stock import receive
from provider.api.payments import authorise, status
from queries.api.orders import list_orders, show_order
from queries.api.stock import show_stock
from queries.models import ShowOrderWait

# How often an order is asked for that is not settled yet. The query side waits 5 s each time.
ATTEMPTS_MAX = 24

order_id = uuid.UUID(order_id)
to_commands, to_queries, to_provider = (
    package.Client(base_url=url, raise_on_unexpected_status=True, timeout=60)
    for package, url in ((commands, commands_url), (queries, queries_url), (provider, provider_url))
)

received = receive.sync("TEAPOT", client=to_commands, body=commands.models.ReceiveStock(quantity=10))

address = commands.models.PlaceOrderShippingAddressType1.from_dict(
    {"name": "alice", "street": "1 Harbour Road", "city": "Bristol"}
)
order = commands.models.PlaceOrder(
    order_id=order_id,
    customer_id="alice",
    currency="GBP",
    lines=[commands.models.PlaceOrderLine(sku="TEAPOT", quantity=2, unit_price_minor=1750)],
    shipping_address=address,
)
placed = place.sync_detailed(
    client=to_commands, body=order, idempotency_key=f"place-{order_id}", x_correlation_id=str(order_id)
)
placed_again = place.sync(client=to_commands, body=order)

for _ in range(ATTEMPTS_MAX):
    settled = show_order.sync_detailed(
        order_id, client=to_queries, after=placed.parsed.position, wait=ShowOrderWait.SETTLED
    )
    if settled.status_code != 503:
        break
order_without_waiting = show_order.sync(order_id, client=to_queries)
listed = list_orders.sync(client=to_queries, customer_id="alice")
stock = show_stock.sync("TEAPOT", client=to_queries, after=received.position)

payment = status.sync(order_id, client=to_provider)
another = uuid.uuid4()
authorised = authorise.sync(
    client=to_provider,
    idempotency_key=str(another),
    body=provider.models.Authorise(payment_id=another, customer_id="bob", amount_minor=5, currency="GBP"),
)
no_such_payment = status.sync(uuid.uuid4(), client=to_provider)

print(json.dumps({
    "received": received.to_dict(),
    "placed": placed.parsed.to_dict(),
    "correlation_id": placed.headers["X-Correlation-Id"],
    "placed_again": placed_again.to_dict(),
    "order": settled.parsed.to_dict(),
    "order_without_waiting": order_without_waiting.to_dict(),
    "listed": [str(order.order_id) for order in listed.items],
    "stock": stock.to_dict(),
    "payment": payment.to_dict(),
    "authorised": authorised.to_dict(),
    "no_such_payment": no_such_payment.to_dict(),
}))
