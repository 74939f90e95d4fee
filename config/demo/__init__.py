"""`make demo`: a made-up company, Northwind Security, that uses the portal as its people and systems would.

Everything here happens over HTTP, from outside: no model is imported and no table is written. The one exception
is the first tenant, which `manage.py create_tenant` makes, as it does for everybody.

    company    what Northwind has: people, sites, sources, subscriptions. Data only.
    portal     the portal as a client sees it: the API with a key or signed in, the pages with a browser's cookies
    memory     what the demo has to know again when it is started a second time
    setup      makes what is missing of the company
    senders    how a source's sender proves itself, and how it fails to
    events     what the senders send
    feeder     the process that does all this, then keeps sending
    receivers  the process that plays the difficult receivers; the good one is docs/examples/receiver.py
"""
