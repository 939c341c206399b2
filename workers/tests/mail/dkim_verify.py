# Verifies each DKIM signature of the mail on standard input, by dkimpy: another implementation than the one that signed.
# Arguments: selector=TXT-record … Prints one line per signature: its domain, what it covers, and whether it holds.
import sys
import dkim

records = {f"{name}._domainkey.example.test.": text for name, text in (a.split("=", 1) for a in sys.argv[1:])}
mail = sys.stdin.buffer.read()
verifier = dkim.DKIM(mail, minkey=1024)
count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
for index in range(count):
    try:
        holds = verifier.verify(idx=index, dnsfunc=lambda name, timeout=5: records.get(name.decode(), "").encode())
    except dkim.DKIMException as error:
        holds = error
    covered = ":".join(name.decode() for name in verifier.include_headers) if holds is True else ""
    print(verifier.domain.decode() if verifier.domain else "-", holds, covered)
