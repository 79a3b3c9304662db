from logs_schema.wording import counted


def test_a_noun_agrees_with_its_number() -> None:
    assert counted(1, "record") == "1 record"
    assert counted(0, "record") == "0 records"
    assert counted(3500, "record") == "3,500 records"
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(2, "entry", "entries") == "2 entries"
