import pytest
from tests.tools.world import build_world, neighbor
from django.db import connection
def test_w(realm, other_realm, at, by):
    import time
    t=time.time(); w=build_world(realm, at=at, by=by); print('one', time.time()-t)
    t=time.time(); n=neighbor(w); print('nb', time.time()-t)
    from tests.tools.tables import own_tables
    with connection.cursor() as c:
        for t in own_tables():
            c.execute(f'select count(*) from {t}'); print(t, c.fetchone()[0])
