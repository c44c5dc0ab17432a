# shellcheck shell=bash
# On each host of a TPU slice: the bucket becomes a folder, the image is pulled.
# tpu_vm.py puts IMAGE, BUCKET and FOLDER before it, and `set -euo pipefail`.
: "${IMAGE:?}" "${BUCKET:?}" "${FOLDER:?}"

if ! command -v gcsfuse > /dev/null; then
  # https://cloud.google.com/storage/docs/cloud-storage-fuse/install
  keys=/usr/share/keyrings/cloud.google.gpg
  packages=https://packages.cloud.google.com/apt
  curl --silent --fail "$packages/doc/apt-key.gpg" \
    | sudo gpg --dearmor --yes --output "$keys"
  echo "deb [signed-by=$keys] $packages gcsfuse-$(lsb_release -c -s) main" \
    | sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null
  sudo apt-get -qq update
  sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install gcsfuse > /dev/null
fi

if ! mountpoint --quiet "$FOLDER"; then
  sudo mkdir -p "$FOLDER"
  # A checkpoint counts once its folder has been renamed, which gcsfuse refuses
  # for folders of many files unless told otherwise.
  sudo gcsfuse --implicit-dirs --rename-dir-limit=1000000 -o allow_other \
    "$BUCKET" "$FOLDER" > /dev/null
fi

probe="$FOLDER/.write_test_$(hostname)"
if ! sudo touch "$probe"; then
  echo "error: gs://$BUCKET cannot be written to from $(hostname): give the" \
    "service account of the TPU the role roles/storage.objectUser on it" >&2
  exit 2
fi
sudo rm "$probe"

sudo gcloud --quiet auth configure-docker "${IMAGE%%/*}" > /dev/null 2>&1
sudo docker pull --quiet "$IMAGE" > /dev/null
