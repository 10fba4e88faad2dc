#include "greeting.h"

#include <stdio.h>
#include <string.h>

const struct greeting greetings[] = {
	{ "cs", "Ahoj, %s!" },
	{ "de", "Hallo, %s!" },
	{ "en", "Hello, %s!" },
	{ "eo", "Saluton, %s!" },
	{ "es", "¡Hola, %s!" },
	{ "fi", "Hei, %s!" },
	{ "fr", "Bonjour, %s !" },
	{ "ja", "こんにちは、%sさん！" },
	{ NULL, NULL },
};

const struct greeting *greeting_find(const char *language)
{
	const struct greeting *greeting = greetings;

	while (greeting->language && strcmp(greeting->language, language) != 0)
		greeting++;
	return greeting->language ? greeting : NULL;
}

int greeting_format(char *buffer, size_t size, const struct greeting *greeting, const char *name)
{
	/* The format is one of ours and never a user's. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	return snprintf(buffer, size, greeting->format, name);
#pragma GCC diagnostic pop
}
