"""What other people's libraries for Node.js say to a post: they judge it independently of the portal.

The senders' own judge what reaches the door; those of receivers judge what is sent.

They are npm packages that `python tests/payloads.py` gets; a test that needs one which is not there is skipped.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests import payloads

Post = tuple[Mapping[str, str], bytes]  # headers and body

# Of each package: `judge`, which gives the status and the body that its receiver answers with.
_JUDGES = {
    "@linear/sdk": """
        import { LinearWebhookClient } from "@linear/sdk/webhooks";
        const judge = async (secret, headers, body) => {
            const request = new Request("https://portal.example.com", { method: "POST", headers, body });
            const answer = await new LinearWebhookClient(secret).createHandler()(request);
            return [answer.status, await answer.text()];
        };
    """,
    "@octokit/webhooks-methods": """
        import { verify } from "@octokit/webhooks-methods";
        const judge = async (secret, headers, body) => {
            const genuine = await verify(secret, body, headers["X-Hub-Signature-256"]);
            return [genuine ? 204 : 401, ""];
        };
    """,
    "cloudevents": """
        import { HTTP } from "cloudevents";
        const judge = async (_, headers, body) => {
            try {
                const event = HTTP.toEvent({ headers, body });
                event.validate();
                return [200, JSON.stringify(event)];
            } catch (error) {
                return [400, String(error.message)];
            }
        };
    """,
    "@zoom/rivet": """
        import { AwsLambdaReceiver } from "@zoom/rivet/users";
        console.debug = () => {};
        const judge = async (webhooksSecretToken, headers, body) => {
            const answer = await new AwsLambdaReceiver({ webhooksSecretToken }).start()({ headers, body });
            return [answer.statusCode, answer.body];
        };
    """,
}
_ASK = """
    import { readFileSync } from "node:fs";
    const { secret, posts } = JSON.parse(readFileSync(0, "utf8"));
    const answers = [];
    for (const [headers, body] of posts) answers.push(await judge(secret, headers, body));
    console.log(JSON.stringify(answers));
"""


def answers(package: str, secret: str, posts: Sequence[Post]) -> list[tuple[int, str]]:
    """The status and body with which the package's receiver, given the secret, answers each post."""
    if payloads.find(package) is None:
        missed = f"NOT TESTED: what {package} says. `python tests/payloads.py` gets it from npm."
        pytest.fail(missed) if os.environ.get("CI") else pytest.skip(missed)
    asked = {"secret": secret, "posts": [(dict(headers), body.decode()) for headers, body in posts]}
    done = subprocess.run(
        [Path(sys.executable).with_name("node"), "--input-type=module", "--eval", _JUDGES[package] + _ASK],
        cwd=payloads.PREFIX,  # bare imports are looked up from here
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [(status, body) for status, body in json.loads(done.stdout)]
