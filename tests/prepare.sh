#!/bin/sh
# What the tests need beyond the virtual environment. Only what is missing is installed; without the rights, the tests that need it say so.
set -u
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
ls /usr/share/fonts/opentype/ipafont-gothic /usr/share/fonts/opentype/noto >/dev/null 2>&1 || missing="$missing fonts-ipafont-gothic"
for library in libpango-1.0.so.0 libpangoft2-1.0.so.0 libharfbuzz-subset.so.0; do
  ldconfig -p 2>/dev/null | grep -q "$library" || missing="$missing libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
done
for tool in pdfsig:poppler-utils zbarimg:zbar-tools certutil:libnss3-tools pcscd:pcscd opensc-tool:opensc softhsm2-util:softhsm2 ssh-agent:openssh-client swig:swig slapd:slapd; do
  PATH="$PATH:/usr/sbin" command -v "${tool%:*}" >/dev/null 2>&1 || missing="$missing ${tool#*:}"
done
ls /usr/lib/pcsc/drivers/serial/libifdvpcd.so >/dev/null 2>&1 || missing="$missing vsmartcard-vpcd"
ls /usr/lib/*/engines-3/pkcs11.so >/dev/null 2>&1 || missing="$missing libengine-pkcs11-openssl"
ls /usr/share/fonts/truetype/ipamj >/dev/null 2>&1 || missing="$missing fonts-ipamj-mincho"
ls /usr/include/PCSC/winscard.h >/dev/null 2>&1 || missing="$missing libpcsclite-dev"
if [ -n "$missing" ] && [ "$(id -u)" = 0 ]; then
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing) >/dev/null 2>&1 \
    || echo "Could not install:$missing" >&2
fi
.venv/bin/python -c 'import smartcard, cv2' 2>/dev/null \
  || .venv/bin/pip install --quiet --disable-pip-version-check -r requirements-card.lock \
  || echo "Could not install pyscard or OpenCV: tests with a card over PC/SC, and of photographs, are skipped." >&2
exit 0
