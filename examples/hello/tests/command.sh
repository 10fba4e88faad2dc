#!/bin/sh
# Tries the command as its users do. Usage: tests/command.sh PROGRAM
set -u
greeting=$1
failures=0

# check WHAT STATUS OUTPUT [ARGUMENT]...: run the command with the arguments and compare.
check() {
	what=$1 status=$2 output=$3
	shift 3
	actual=$("$greeting" "$@" 2>&1)
	actual_status=$?
	if [ "$actual_status" -eq "$status" ] && [ "$actual" = "$output" ]; then
		echo "ok - $what"
	else
		echo "not ok - $what: status $actual_status instead of $status, or '$actual' instead of '$output'"
		failures=$((failures + 1))
	fi
}

check 'the world is greeted' 0 'Hello, World!'
check 'somebody is greeted' 0 'Hello, Ada!' --name Ada
check 'in another language' 0 'Saluton, Ada!' -l eo -n Ada
check 'an unknown language' 2 "greeting: no greeting in 'xx'; see greeting --list" --language xx
check 'a word too many' 2 "greeting: what is 'Ada' for? see greeting --help" Ada
check 'the version' 0 "greeting $VERSION" --version

if [ -c /dev/full ] && "$greeting" >/dev/full 2>&1; then
	echo 'not ok - a full disk goes unnoticed'
	failures=$((failures + 1))
else
	echo 'ok - a full disk is noticed'
fi
exit $((failures > 0))
