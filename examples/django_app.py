"""Django in a single file: start it with ``gserver examples.django_app:app``."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only an example",
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()

PAGE = """<!doctype html>
<title>Guests</title>
<ul>{% for guest in guests %}<li>{{ guest }}</li>{% endfor %}</ul>
<form method="post">{% csrf_token %}<input name="guest"><button>Sign</button></form>
"""
guests: list[str] = []


def guest_book(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        guests.append(request.POST["guest"])
    page = engines["django"].from_string(PAGE)
    return HttpResponse(page.render({"guests": guests}, request))


urlpatterns = [path("", guest_book)]
app = get_wsgi_application()
