import orders
import vcr

recorder = vcr.VCR(cassette_library_dir="cassettes", filter_headers=["authorization"])


def test_context_manager():
    with recorder.use_cassette("claims.yaml"):
        assert "client_id" in orders.claims()


@recorder.use_cassette()
def test_decorator():
    assert "client_id" in orders.claims()


def test_twice_in_one_cassette():
    with recorder.use_cassette("twice.yaml") as cassette:
        assert orders.claims() == orders.claims()
    assert len(cassette) == 4
