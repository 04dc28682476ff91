"""docmill among strangers: another S3 server (moto), and another client of the sandbox (boto3).

What Rust's own tests can not show: that docmill's S3 is not only the sandbox's S3, and that the sandbox's Bedrock is
not only docmill's idea of it. Run by `make foreign`, which installs moto and boto3 into a virtual environment.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

import boto3
import botocore.config
import botocore.eventstream
import botocore.exceptions
import urllib3.exceptions

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCMILL = pathlib.Path(sys.argv[1]).resolve()
KEYS = {"aws_access_key_id": "sandbox", "aws_secret_access_key": "sandbox-secret"}
MODEL = "us.amazon.nova-micro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-6"
MESSAGE = {"role": "user", "content": [{"text": (
    "The ship left the harbour on Monday with forty sailors. The captain kept a log of the weather. "
    "On Tuesday the ship met a storm and lost a mast. The sailors repaired the mast within a day. "
    "On Friday the ship reached the island with thirty-nine sailors."
)}]}
passed = 0


def check(what, condition, detail=""):
    global passed
    if not condition:
        sys.exit(f"FAILED: {what} {detail}")
    passed += 1
    print(f"ok  {what}")


def client(service, url, **keys):
    config = botocore.config.Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, proxies={})
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", config=config, **(keys or KEYS))


def refusal(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return "accepted", 200


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"} | more


def start_sandbox(folder, *more):
    process = subprocess.Popen(
        [DOCMILL, "sandbox", "--dir", folder, "--listen", "127.0.0.1:0", *more],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )
    line = process.stdout.readline()
    return process, line.strip().split("=", 1)[1]


def start_moto():
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment(),
    )
    for line in process.stderr:
        if "Running on http://" in line:
            # It logs every request there; a pipe that nobody reads would stop it.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, line.split("Running on ")[1].split()[0].strip()
    sys.exit("moto did not start")


def another_s3_server(sandbox_url, moto_url):
    s3 = client("s3", moto_url)
    for bucket in ("inbox", "outbox"):
        s3.create_bucket(Bucket=bucket)
    documents = sorted((ROOT / "fixtures/docs/text").iterdir())
    names = {f"text/{path.name}": path.read_bytes() for path in documents}
    odd = ["with space.txt", "ünï/日本語 #1 (100%).txt", "a%2Fb+c%20d.txt", "q?x=1&y=2.txt", "a//b.txt"]
    names |= {key: f"This document is called {key}. It is short.".encode() for key in odd}
    # More than one page of a listing, most of it left out by the globs.
    names |= {f"skip/{i:04}.bin": b"x" for i in range(1100)}
    for key, body in names.items():
        s3.put_object(Bucket="inbox", Key=key, Body=body)
    run = subprocess.run(
        [DOCMILL, "run", "pipelines/summarise.toml", "--json", "--source", "s3://inbox/", "--sink", "s3://outbox/",
         "--set", 'source.exclude=["skip/**"]'],
        cwd=ROOT, capture_output=True, text=True,
        env=environment(
            AWS_ENDPOINT_URL_S3=moto_url, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=sandbox_url,
            AWS_ACCESS_KEY_ID="sandbox", AWS_SECRET_ACCESS_KEY="sandbox-secret",
        ),
    )
    check("a run with another S3 server ends with 0", run.returncode == 0, run.stderr)
    totals = json.loads(run.stdout.splitlines()[-1])["totals"]
    wanted = [key for key in names if not key.startswith("skip/")]
    check("every document is done", totals["done"] == len(wanted) and totals["excluded"] == 1100, totals)
    for key in wanted:
        result = json.loads(s3.get_object(Bucket="outbox", Key=f"{key}.json")["Body"].read())
        check(f"result of {key}", result["key"] == key and result["coverage"] == {"complete": True})
        page = s3.get_object(Bucket="outbox", Key=f"{key}.md")
        check("and its page", page["ContentType"].startswith("text/markdown") and page["ContentLength"] > 50)


def a_foreign_client(url):
    bedrock = client("bedrock-runtime", url)
    ask = {"modelId": MODEL, "messages": [MESSAGE], "inferenceConfig": {"maxTokens": 200}}
    answer = bedrock.converse(**ask)
    text = answer["output"]["message"]["content"][0]["text"]
    usage = answer["usage"]
    check("Converse answers", text and answer["stopReason"] == "end_turn")
    check("usage adds up", usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0)
    check("the same question has the same answer", bedrock.converse(**ask)["output"] == answer["output"])
    cut = bedrock.converse(**ask | {"inferenceConfig": {"maxTokens": 3}})
    check("maxTokens is honoured", (cut["stopReason"], cut["usage"]["outputTokens"]) == ("max_tokens", 3))

    counting = "anthropic.claude-haiku-4-5-20251001-v1:0"
    counted = bedrock.count_tokens(modelId=counting, input={"converse": {"messages": [MESSAGE]}})
    billed = bedrock.converse(**ask | {"modelId": "us." + counting})["usage"]["inputTokens"]
    check("CountTokens counts what Converse bills", counted["inputTokens"] == billed, (counted, billed))
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [
        {"role": "user", "content": MESSAGE["content"][0]["text"]}]})
    counted = bedrock.count_tokens(modelId=counting, input={"invokeModel": {"body": body.encode()}})
    check("CountTokens reads a native body", counted["inputTokens"] > 0)

    for what, code, arguments in [
        ("an unknown model", "ValidationException", {"modelId": "acme.brain-v1:0"}),
        ("a bare id that needs a profile", "ValidationException", {"modelId": counting}),
        ("a dead model", "ResourceNotFoundException", {"modelId": "anthropic.claude-v2:1"}),
        ("too many tokens", "ValidationException", {"inferenceConfig": {"maxTokens": 10**6}}),
        ("two questions in a row", "ValidationException", {"messages": [MESSAGE, MESSAGE]}),
        ("an empty text", "ValidationException", {"messages": [{"role": "user", "content": [{"text": " "}]}]}),
    ]:
        check(f"{what} is refused", refusal(bedrock.converse, **ask | arguments)[0] == code,
              refusal(bedrock.converse, **ask | arguments))
    stranger = client("bedrock-runtime", url, aws_access_key_id="nobody", aws_secret_access_key="x")
    check("a stranger is refused", refusal(stranger.converse, **ask) == ("UnrecognizedClientException", 403))
    forger = client("bedrock-runtime", url, aws_access_key_id="sandbox", aws_secret_access_key="x")
    check("a forger is refused", refusal(forger.converse, **ask) == ("InvalidSignatureException", 403))

    s3 = client("s3", url)
    s3.create_bucket(Bucket="foreign")
    s3.put_object(Bucket="foreign", Key="a b/ü+%.txt", Body=b"one", IfNoneMatch="*")
    lost = refusal(s3.put_object, Bucket="foreign", Key="a b/ü+%.txt", Body=b"two", IfNoneMatch="*")
    check("a conditional write is lost once", lost == ("PreconditionFailed", 412))
    listed = s3.list_objects_v2(Bucket="foreign")["Contents"][0]
    check("a listing shows key and ETag", (listed["Key"], listed["Size"]) == ("a b/ü+%.txt", 3) and listed["ETag"])


def hear(bedrock, ask):
    """Names of a stream's events, its text, and the last event."""
    names, text, last = [], "", {}
    for event in bedrock.converse_stream(**ask)["stream"]:
        (name, last), = event.items()
        if not names or names[-1] != name:
            names.append(name)
        text += last.get("delta", {}).get("text", "")
    return names, text, last


def a_foreign_reader_of_streams(url):
    bedrock = client("bedrock-runtime", url)
    ask = {"modelId": MODEL, "messages": [MESSAGE], "inferenceConfig": {"maxTokens": 200}}
    whole = bedrock.converse(**ask)
    names, text, last = hear(bedrock, ask)
    order = ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
    check("a stream has its events in order", names == order, names)
    check("and says what Converse says", text == whole["output"]["message"]["content"][0]["text"])
    check("and is billed alike", last["usage"] == whole["usage"] and last["metrics"]["latencyMs"] >= 0)
    llama = ask | {"modelId": "us.meta.llama4-scout-17b-instruct-v1:0"}
    check("a model without streams refuses them", refusal(bedrock.converse_stream, **llama)[0] == "ValidationException")
    quotas = client("service-quotas", url).list_service_quotas(ServiceCode="bedrock")
    check("without a scenario no quota is known", quotas["Quotas"] == [])


def a_foreign_client_of_bodies(url):
    bedrock = client("bedrock-runtime", url)
    text = MESSAGE["content"][0]["text"]
    said = bedrock.converse(modelId=CLAUDE, messages=[MESSAGE])["output"]["message"]["content"][0]["text"]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 300, "messages": [{"role": "user", "content": text}]}
    call = {"modelId": CLAUDE, "body": json.dumps(body)}
    whole = bedrock.invoke_model(**call)
    headers = whole["ResponseMetadata"]["HTTPHeaders"]
    answer = json.loads(whole["body"].read())
    check("InvokeModel says what Converse says", answer["content"] == [{"type": "text", "text": said}], answer)
    billed = int(headers["x-amzn-bedrock-output-token-count"])
    check("and its headers say what it cost", billed == answer["usage"]["output_tokens"] > 0)
    chunks = [json.loads(event["chunk"]["bytes"]) for event in bedrock.invoke_model_with_response_stream(**call)["body"]]
    pieces = [chunk["delta"]["text"] for chunk in chunks if chunk["type"] == "content_block_delta"]
    check("its stream says the same", "".join(pieces) == said and len(pieces) > 2, chunks)
    metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
    check("and ends with the figures", metrics["outputTokenCount"] == billed, metrics)
    odd = call | {"body": json.dumps(body | {"recordId": "x"})}
    check("unknown members are refused", refusal(bedrock.invoke_model, **odd) == ("ValidationException", 400))
    texts = {"texts": [text, text, "Soup."], "input_type": "search_document"}
    embedded = bedrock.invoke_model(modelId="cohere.embed-english-v3", body=json.dumps(texts))
    first, second, third = json.loads(embedded["body"].read())["embeddings"]
    check("embeddings know a text again", first == second != third and len(first) == 1024)

    kept = {"role": "user", "content": [{"text": text * 20}, {"cachePoint": {"type": "default"}}, {"text": text}]}
    usages = [bedrock.converse(modelId=CLAUDE, messages=[kept])["usage"] for _ in range(2)]
    written, read = usages[0]["cacheWriteInputTokens"], usages[1]["cacheReadInputTokens"]
    check("what was written to the cache is read", written == read > 1024, usages)
    tool = {"toolSpec": {"name": "log", "inputSchema": {"json": {"type": "object", "properties": {"days": {"type": "integer"}}}}}}
    forced = {"tools": [tool], "toolChoice": {"tool": {"name": "log"}}}
    called = bedrock.converse(modelId=CLAUDE, messages=[MESSAGE], toolConfig=forced)
    use = called["output"]["message"]["content"][0]["toolUse"]
    check("a tool is called", (called["stopReason"], use["name"], type(use["input"]["days"])) == ("tool_use", "log", int), use)

    plane = client("bedrock", url)
    models = {model["modelId"]: model for model in plane.list_foundation_models()["modelSummaries"]}
    check("the control plane lists models", models["amazon.nova-micro-v1:0"]["modelLifecycle"]["status"] == "ACTIVE")
    profile = plane.get_inference_profile(inferenceProfileIdentifier=MODEL)
    check("and what a profile leads to", profile["models"][0]["modelArn"].endswith("/amazon.nova-micro-v1:0"), profile)


WEATHER = """
about = "every way in which a stream ends, one call after the other"
[[pool]]
name = "nova"
models = ["us.amazon.nova-micro-v1:0"]
requests_per_minute = 60
tokens_per_minute = 400000
tokens_per_day = 1000000
"""


def in_bad_weather(folder):
    spoilt = ["wrong-crc", "exception", "cut-off", "no-message-stop", "throttled-day", "garbage", "reset"]
    path = pathlib.Path(folder) / "weather.toml"
    faults = [f'[[fault]]\nkind = "{kind}"\ncalls = [{n}, {n}]\n' for n, kind in enumerate(spoilt, 1)]
    path.write_text(WEATHER + "".join(faults))
    sandbox, url = start_sandbox(folder, "--scenario", str(path))
    try:
        bedrock = client("bedrock-runtime", url)
        ask = {"modelId": MODEL, "messages": [MESSAGE]}

        def fails(what, *kinds):
            try:
                heard = hear(bedrock, ask)
            except kinds as error:
                return check(f"botocore notices {what}", True) or error
            check(f"botocore notices {what}", False, heard)

        fails("a wrong checksum", botocore.eventstream.ChecksumMismatch)
        error = fails("an exception within a stream", botocore.exceptions.EventStreamError)
        check("and its type", error.response["Error"]["Code"] == "internalServerException", error.response)
        fails("a stream that is cut", botocore.exceptions.HTTPClientError, urllib3.exceptions.HTTPError)
        names, _, _ = hear(bedrock, ask)
        check("a stream without messageStop ends early", names[-1] == "contentBlockStop", names)
        error = fails("a throttle", botocore.exceptions.ClientError)
        check("and its words", "per day" in error.response["Error"]["Message"], error.response)
        fails("garbage", botocore.eventstream.ParserError)
        fails("a reset", botocore.exceptions.HTTPClientError)
        check("then the weather is fair", hear(bedrock, ask)[0][-1] == "metadata")

        pages = client("service-quotas", url).get_paginator("list_service_quotas")
        rows = {}
        for page in pages.paginate(ServiceCode="bedrock", PaginationConfig={"PageSize": 2}):
            rows |= {row["QuotaName"]: row["Value"] for row in page["Quotas"]}
        name = "Amazon Nova Micro"
        check("Service Quotas lists the scenario's quotas", rows == {
            f"Cross-region model inference requests per minute for {name}": 60.0,
            f"Cross-region model inference tokens per minute for {name}": 400000.0,
            f"Model invocation max tokens per day for {name} (doubled for cross-region calls)": 500000.0,
        }, rows)
        no_such = refusal(client("service-quotas", url).list_service_quotas, ServiceCode="ec2")
        check("and no other service's", no_such == ("NoSuchResourceException", 400), no_such)
        with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
            stats = json.loads(answer.read())
        check("the sandbox kept books", stats["answers_paid"] == 6 and stats["answers_delivered"] == 1, stats)
    finally:
        sandbox.send_signal(signal.SIGINT)
        sandbox.wait(timeout=30)


def main():
    with tempfile.TemporaryDirectory() as folder:
        sandbox, sandbox_url = start_sandbox(folder)
        moto, moto_url = start_moto()
        try:
            a_foreign_client(sandbox_url)
            a_foreign_reader_of_streams(sandbox_url)
            a_foreign_client_of_bodies(sandbox_url)
            in_bad_weather(folder)
            another_s3_server(sandbox_url, moto_url)
        finally:
            moto.kill()
            sandbox.send_signal(signal.SIGINT)
        check("the sandbox stops at Ctrl-C", sandbox.wait(timeout=30) == 0)
    print(f"{passed} passed, 0 failed")


main()
