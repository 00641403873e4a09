"""The functions of Athena's engine that cost queries use; what is not here is refused as unknown."""

_FUNCTIONS = """
abs all_match any_match any_value approx_distinct approx_percentile arbitrary array_agg array_distinct array_join
array_max array_min array_position array_remove array_sort array_union arrays_overlap at_timezone avg
bool_and bool_or cardinality cast ceil ceiling char_length chr coalesce codepoint concat concat_ws contains count
count_if cume_dist date date_add date_diff date_format date_parse date_trunc day day_of_month
day_of_week day_of_year dense_rank element_at ends_with every exp extract filter first_value flatten floor format
format_datetime from_iso8601_date from_iso8601_timestamp from_unixtime geometric_mean greatest grouping hour if
json_extract json_extract_scalar json_format json_parse lag last_day_of_month last_value lead least length listagg
ln log log10 log2 lower lpad ltrim map map_agg map_concat map_entries map_filter map_from_entries
map_keys map_union map_values max max_by md5 min min_by minute mod month none_match now nth_value ntile nullif
parse_datetime percent_rank position pow power quarter rank reduce regexp_count regexp_extract regexp_extract_all
regexp_like regexp_replace regexp_split repeat replace reverse round row_number rpad rtrim second sequence sha256
sign slice split split_part split_to_map sqrt starts_with stddev strpos substr substring sum to_hex to_iso8601
to_unixtime to_utf8 transform transform_keys transform_values trim truncate try try_cast typeof upper url_decode
variance week with_timezone xxhash64 year year_of_week zip
"""
_WORDS = """
all and any array as between by case char cross cube decimal distinct double else end escape except exists
from full group having in inner intersect interval is join lateral left like limit not numeric on or
order outer over partition precision right rollup row select sets some table then time timestamp union unnest using
values varchar when where with within
"""

FUNCTIONS = frozenset(_FUNCTIONS.split())
WORDS = frozenset(_WORDS.split())
"""Words of the language that a parenthesis may follow."""
