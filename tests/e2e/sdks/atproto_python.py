"""What an app does with the PyPI package `atproto`. AIP_URL is its service, ACCESS_TOKEN its credential, DID
the account; it writes what it got as one line of JSON."""

import base64
import json
import os

from atproto import Client, models

COLLECTION = "app.bsky.feed.post"
PROFILE = "app.bsky.actor.profile"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

client = Client(base_url=f"{os.environ['AIP_URL']}/xrpc")
client.request.add_additional_header("Authorization", f"Bearer {os.environ['ACCESS_TOKEN']}")
repo = os.environ["DID"]
records = client.com.atproto.repo


def create(text, embed=None):
    record = models.AppBskyFeedPost.Record(
        text=text, embed=embed, created_at=client.get_current_time_iso()
    )
    data = models.ComAtprotoRepoCreateRecord.Data(repo=repo, collection=COLLECTION, record=record)
    return records.create_record(data)


# Without the header the library names no media type, and PDSs have no `blob:` scope for that.
uploaded = records.upload_blob(PICTURE, headers={"Content-Type": "image/png"})
image = models.AppBskyEmbedImages.Image(image=uploaded.blob, alt="A dot")
with_image = create("with an image", models.AppBskyEmbedImages.Main(images=[image]))
for text in ["one", "two", "three", "four"]:
    create(text)

pages = []
cursor = None
while True:
    params = models.ComAtprotoRepoListRecords.Params(
        repo=repo, collection=COLLECTION, limit=2, cursor=cursor
    )
    page = records.list_records(params)
    pages.append([record.value.text for record in page.records])
    cursor = page.cursor
    if not cursor:
        break

for name in ["First", "Second"]:
    record = models.AppBskyActorProfile.Record(display_name=name)
    records.put_record(
        models.ComAtprotoRepoPutRecord.Data(
            repo=repo, collection=PROFILE, rkey="self", record=record
        )
    )
profile = records.get_record(
    models.ComAtprotoRepoGetRecord.Params(repo=repo, collection=PROFILE, rkey="self")
)

rkey = with_image.uri.rsplit("/", 1)[-1]
records.delete_record(
    models.ComAtprotoRepoDeleteRecord.Data(repo=repo, collection=COLLECTION, rkey=rkey)
)
print(
    json.dumps(
        {"pages": pages, "deleted": with_image.uri, "displayName": profile.value.display_name}
    )
)
