"""Bottle: start it with ``gserver examples.bottle_app:app``."""
# mypy: disable-error-code="untyped-decorator"

from bottle import Bottle, abort, request

app = Bottle()
prices = {"tea": 250, "coffee": 300}


@app.get("/")
def menu() -> dict[str, int]:
    return prices


@app.get("/<drink>")
def price(drink: str) -> str:
    if drink not in prices:
        abort(404, f"We have no {drink}.")
    return f"{drink}: {prices[drink] / 100:.2f}\n"


@app.put("/<drink>")
def set_price(drink: str) -> str:
    prices[drink] = int(request.body.read())
    return f"{drink} costs {prices[drink]} from now on\n"
