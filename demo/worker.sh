#!/usr/bin/env bash
# A worker of the demo as a cron job would be one: cbmctl run around curl, again and again. Says on stdout how each call went:
# "ok", "failed EXIT_STATUS", "open MESSAGE", "trouble MESSAGE" when the broker could not be asked.
#
#     worker.sh CBMCTL BREAKER PORT WORKER      (the broker's address in $CBM_ADDRESS)
set -u
cbmctl=$1 breaker=$2 port=$3 worker=$4

# A loaded machine may keep the broker from answering within the usual 100 ms; here every call is counted.
patience=(--fail-closed --deadline=5s)

while :; do
    message=$("$cbmctl" run "${patience[@]}" "$breaker" -- \
        curl --silent --fail --max-time 5 --output /dev/null --header "X-Worker: $worker" "http://127.0.0.1:$port/" 2>&1)
    status=$?
    case $status in
    0) echo ok ;;
    75)
        echo "open ${message//$'\n'/ }"
        sleep 0.1
        ;;
    69) echo "trouble $message" ;;
    *) echo "failed curl exit status $status" ;;
    esac
    sleep 0.1
done
