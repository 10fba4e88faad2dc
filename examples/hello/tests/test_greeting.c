/* Tests of the functions; tests/command.sh tries the whole command. */
#include "greeting.h"

#include <stdio.h>
#include <string.h>

static int failures;

static void check(int holds, const char *what)
{
	printf("%s - %s\n", holds ? "ok" : "not ok", what);
	failures += !holds;
}

static void test_find(void)
{
	check(greeting_find("en") != NULL, "English is there");
	check(greeting_find("") == NULL, "no language has no greeting");
	check(greeting_find("e") == NULL, "half a code is no code");
}

static void test_format(void)
{
	const struct greeting *english = greeting_find("en");
	char text[64];
	char tight[8];

	check(greeting_format(text, sizeof(text), english, "World") == 13, "the length is told");
	check(strcmp(text, "Hello, World!") == 0, "the name stands in its place");
	check(greeting_format(tight, sizeof(tight), english, "World") == 13, "also what does not fit has a length");
	check(strcmp(tight, "Hello, ") == 0, "what does not fit is cut off");
	greeting_format(text, sizeof(text), english, "%n%s");
	check(strcmp(text, "Hello, %n%s!") == 0, "a name is never a format");
}

static void test_table(void)
{
	for (const struct greeting *one = greetings; one->language; one++) {
		check(strlen(one->language) == 2, one->language);
		check(strstr(one->format, "%s") != NULL, one->format);
		check(one == greetings || strcmp(one[-1].language, one->language) < 0, "in order");
	}
}

int main(void)
{
	test_find();
	test_format();
	test_table();
	return failures != 0;
}
