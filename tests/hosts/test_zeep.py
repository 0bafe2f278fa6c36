"""zeep: a SOAP client whose transport takes a session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts

WSDL = """<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:t" targetNamespace="urn:t">
 <types><xsd:schema targetNamespace="urn:t">
  <xsd:element name="Ask" type="xsd:string"/><xsd:element name="Told" type="xsd:string"/>
 </xsd:schema></types>
 <message name="In"><part name="body" element="t:Ask"/></message>
 <message name="Out"><part name="body" element="t:Told"/></message>
 <portType name="P"><operation name="Ask"><input message="t:In"/><output message="t:Out"/></operation></portType>
 <binding name="B" type="t:P"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="Ask"><soap:operation soapAction="ask"/>
   <input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation></binding>
 <service name="S"><port name="P" binding="t:B"><soap:address location="ORIGIN/soap"/></port></service>
</definitions>"""


def soap(environ: Any) -> tuple[str, bytes]:
    """Repeat what was asked."""
    asked = re.search(rb">([^<]*)</ns0:Ask>", environ["body"])
    said = b"" if asked is None else asked[1]
    return "text/xml", (
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        b'<Told xmlns="urn:t">' + said + b"</Told></e:Body></e:Envelope>"
    )


def test_a_transport_with_a_session(
    services: Services, clock: ManualClock, management: AccessTokenManagement, tmp_path: Path
) -> None:
    """Calls carry the token; after a refusal the envelope is sent again."""
    needed("zeep")
    import zeep

    with Api(services.tokens, soap) as api:
        (tmp_path / "service.wsdl").write_text(WSDL.replace("ORIGIN", api.origin))
        management.add_session("soap", base_url=api.origin + "/", client="worker")
        client = zeep.Client(
            str(tmp_path / "service.wsdl"), transport=zeep.Transport(session=management.make_session("soap"))
        )

        def call() -> None:
            assert client.service.Ask("one") == "one"

        check_tokens(call, services, clock, api)
