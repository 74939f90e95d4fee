"""Why a request was refused, in words for the admin. The sender is never told these.

The codes are those of `sources.authentication`, `events.decoding`, `events.streams` and `events.intake`.
"""

EXPLANATIONS = {
    # who sent it
    "header_missing": "The header that proves who sends is missing. The sender may not be set up yet, or a proxy "
    "on the way removes it.",
    "header_duplicated": "The header that proves who sends came more than once, and only one of them could be "
    "believed.",
    "header_malformed": "The header that proves who sends is not written as this method demands.",
    "scheme_wrong": "The Authorization header uses another scheme than the source expects.",
    "credentials_malformed": "The user name and password could not be read.",
    "secret_mismatch": "The secret is not one that this source accepts now. It may have been rotated, or the "
    "sender holds another source's.",
    "signature_mismatch": "The signature does not fit the body: the sender signs with another key, or something "
    "on the way changed the body.",
    "signature_ambiguous": "What was signed can be read in two ways, so the signature proves neither.",
    "timestamp_too_old": "It was signed too long ago. The sender repeats old posts, or its clock is wrong.",
    "timestamp_ahead": "It was signed in the future. The sender's clock is wrong.",
    "timestamp_malformed": "The time that it was signed at could not be read.",
    "url_unknown": "The URL is part of what is signed, and the portal could not tell it.",
    "algorithm_mismatch": "It was signed with another algorithm than the source expects.",
    "no_secret": "The source has no valid secret. Rotate it to make a new one.",
    "secret_unreadable": "A secret of the source cannot be opened: the portal's keyring is not the one it was sealed "
    "with. The sender was asked to try again later. Restore the keyring, or rotate the secret.",
    "key_unknown": "The token names a key that this source does not accept now.",
    "token_malformed": "The token could not be read.",
    "token_expired": "The token had expired.",
    "token_too_old": "The token was made too long ago. The sender reuses tokens, or its clock is wrong.",
    "token_not_yet_valid": "The token is from the future. The sender's clock is wrong.",
    "token_unbounded": "The token has no time in it that bounds its age.",
    "claim_malformed": "A time in the token could not be read.",
    "jwt_required": "The workspace accepts signed tokens only (“require JWT” in its settings), and this source expects "
    "another proof.",
    "jti_missing": "The token has no jti, and this source accepts each token once only.",
    "token_replayed": "The token was used before, and this source accepts each token once only.",
    "claims_mismatch": "The token's claims and the body disagree.",
    # where to
    "site_unknown": "The site at the end of the URL does not exist.",
    "source_paused": "The source is paused. The sender was asked to try again later.",
    "tenant_suspended": "The workspace is suspended.",
    "method_not_allowed": "Only POST is accepted.",
    "address_not_allowed": "It came from an address that the source's rules do not let in.",
    "rate_limited": "More came within a minute than the source's rules let in. The sender was asked to come again.",
    "content_type_not_allowed": "The body was not declared as one of the content types that the source's rules let in.",
    "length_missing": "The request did not tell how long its body is.",
    # what was sent
    "request_too_large": "Headers and body together are larger than a request may be.",
    "body_too_large": "The body is too large once it is decompressed.",
    "body_empty": "The body is empty.",
    "body_corrupt": "The compressed body is damaged.",
    "encoding_wrong": "The body is not compressed the way its Content-Encoding says.",
    "encoding_unsupported": "The body is compressed in a way that is not supported.",
    "encoding_nested": "The body is compressed twice. It is opened once only.",
    "too_many_members": "The compressed body has too many parts.",
    "window_too_large": "The compressed body needs too much memory to be opened. The sender can compress it with a "
    "smaller window (a lower level).",
    "not_utf8": "The body is not UTF-8 text.",
    "not_json": "The body is not valid JSON.",
    "not_an_array": "The source expects a JSON array, and something else is there.",
    "envelope_missing": "The source expects its events at a place in the body that this one does not have.",
    "not_xml": "The body is not valid XML.",
    "xml_forbidden": "The XML has a document type declaration or entities, which are never read.",
    "xml_root_missing": "The source expects its events as elements of a name that the XML does not have.",
    "too_many_nodes": "The XML has too many elements and attributes.",
    "too_many_fields": "The form, or an object around the events, has too many fields.",
    "too_deep": "The body is nested too deep.",
    "too_many_events": "The body holds too many events; send fewer at a time.",
    "event_too_large": "One event of the body is too large.",
}


def explain(reason: str) -> str:
    return EXPLANATIONS.get(reason, "The request was not accepted.")
