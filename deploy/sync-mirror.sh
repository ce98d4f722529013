#!/bin/sh
# Brings a mirror's copy of a register up to date: sync-mirror.sh <source> <folder>, from cron or a timer every few seconds.
#   sync-mirror.sh log.example:/var/lib/warta-log/public /srv/register
# What a checkpoint or a TUF timestamp names must be there before they are: so they are fetched first and put in place last.
set -eu
source=${1:?source of the public tree}
folder=${2:?folder that is served}
next="$folder/.next"
mkdir -p "$next" "$folder/trust"
rsync -t "$source/checkpoint" "$source/trust/timestamp.json" "$next/"
rsync -rt --exclude /checkpoint --exclude /trust/timestamp.json --exclude '*.staged' "$source/" "$folder/"
mv -f "$next/timestamp.json" "$folder/trust/timestamp.json"
mv -f "$next/checkpoint" "$folder/checkpoint"
