"""Messages of single logout by the POST binding of SAML (bindings 3.5): signed inside the XML.

A signature may cover another part than the one that is read. So the one signature there is stands
in the message itself and covers the whole of it, by a way that leaves nothing else out. Knows no
session and no page.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from onelogin.saml2.constants import OneLogin_Saml2_Constants as Named
from onelogin.saml2.utils import OneLogin_Saml2_Utils
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from apps.accounts import saml

TOO_LARGE = 100_000  # characters of a message
NAMES = {**saml.NAMES, "ds": Named.NS_DS}
XMLDSIG, MORE = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/04/xmldsig-more#"
WAYS = {f"{XMLDSIG}enveloped-signature", "http://www.w3.org/2001/10/xml-exc-c14n#"}
METHODS = {f"{MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)}
DIGESTS = {Named.SHA256, Named.SHA384, Named.SHA512}


def message_of(app: Any, sent: str) -> str:
    """The XML of a message that the provider signed. Raises saml.Refused, and what a reader may."""
    if not sent or len(sent) > TOO_LARGE:
        raise saml.Refused("nothing was sent, or far too much")
    try:
        raw = base64.b64decode(sent, validate=True)
    except binascii.Error as error:
        raise saml.Refused("what was sent is no base64") from error
    root = OneLogin_Saml2_XML.to_etree(raw)  # knows no entities and no DTD
    covers_all_of(root)
    known = app.settings["certificates"]
    own = "/*/ds:Signature"
    if not OneLogin_Saml2_Utils.validate_sign(root, xpath=own, multicerts=known):
        raise saml.Refused("the signature of the message is not the provider's")
    return str(OneLogin_Saml2_XML.to_string(root), "utf-8")


def covers_all_of(root: Any) -> None:
    """Raise saml.Refused unless the document's one signature is the root's and covers the root."""
    signatures = root.findall(".//ds:Signature", NAMES)
    if len(signatures) != 1 or signatures[0].getparent() is not root:
        raise saml.Refused("the message is not signed once, as a whole")
    references = signatures[0].findall(".//ds:Reference", NAMES)
    named = [each.get("ID") for each in root.iter() if each.get("ID")]
    if len(references) != 1 or named != [root.get("ID")]:
        raise saml.Refused("the signature covers more or less than the message")
    if references[0].get("URI") != f"#{root.get('ID')}":
        raise saml.Refused("the signature is of something else")
    told = (("SignatureMethod", METHODS), ("DigestMethod", DIGESTS), ("Transform", WAYS))
    for name, allowed in told:
        used = {each.get("Algorithm") for each in signatures[0].findall(f".//ds:{name}", NAMES)}
        if not used or not used <= allowed:
            raise saml.Refused(f"{name} of the signature is none that is believed")


def signed(app: Any, xml: str) -> str:
    """Our message with our signature inside, as a form carries it."""
    key, certificate = app.settings["own_key"], app.settings["own_certificate"]
    return base64.b64encode(OneLogin_Saml2_Utils.add_sign(xml, key, certificate)).decode()
