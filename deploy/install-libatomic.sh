#!/bin/sh
# Node 26 for Linux needs libatomic.so.1, which a bare Debian does not have. Runs before npm installs that Node.
set -eu
[ "$(uname -s)" = Linux ] || exit 0
if ldconfig -p 2>/dev/null | grep -q 'libatomic\.so\.1'; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo 'installing libatomic1, which Node 26 needs'
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libatomic1
else
  echo 'Node 26 needs the library libatomic.so.1 (Debian: apt-get install libatomic1)' >&2
fi
