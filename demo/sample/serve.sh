# Makes the files of the configured range, then serves them. An open end becomes three months after the start.
set -eu
python generate.py files "$TLC_TAXI_TYPE" "$TAXI_START_DATE" "${TAXI_END_DATE:-$(date -d "$TAXI_START_DATE +3 months" +%F)}"
exec python -m http.server 8000 --directory files
