"""English words that the tiny tokenizer should know besides the world's captions.

Function words, and what people write in prompts for images. Whatever is missing is still encoded:
the tokenizer falls back to bytes.
"""

WORDS = """
a about above across after again against all almost along also although always am among an and
another any anyone anything are around as at away back be beautiful became because become been
before behind being below beneath beside best better between beyond big both bring but by call
came can cannot close come could day did different do does doing done down during each early edge
either else end enough even ever every everyone everything far few find first for found four free
from front full further gave get give given go going gone good got great had half hand hands has
have having he head held her here hers herself high him himself his home how however I if in
inside into is it its itself just keep kept kind know known large last late later least leave left
less let like liked likes line little long look looking looks low made make makes making man many
may me mean men might mine more most much must my myself name near nearly never new next night no
none nor not nothing now of off often old on once one only open or other others our out outside
over own part people perhaps person place put quite rather real really right room round said same
saw say see seem seen set several shall she should show side since small so some someone something
sometimes soon still such take taken than that the their them themselves then there these they
thing things think this those though three through time to together too took top toward turn two
under until up upon us use used very want was water way we well went were what when where whether
which while white who whole whose why will with within without woman women word words work world
would year years yes yet you young your

abstract acrylic aerial aesthetic airplane album alien ancient android angel animal animals anime
apple architecture armor army art artist artwork astronaut atmosphere autumn baby background
balloon band beach bear beard bed bee bicycle bike bird birds black blonde blue blurred boat body
book books bottle bowl boy bread bridge bright brown bubble building buildings bus butterfly cafe
cake camera candle candy canvas car cars cartoon castle cat cats cave chair character cherry chess
child children chocolate church cinematic circle city cliff close-up clothes clothing cloud clouds
coast coat coffee cold color colorful colour colours comic composition concept concrete cool
cosmic couch country cow cozy creature creepy crowd crown crystal cube cup cute cyberpunk dance
dark dawn deep deer desert design desk detail detailed devil diamond digital dinosaur dish dog
dogs doll door dragon dramatic drawing dream dreamy dress drink drone duck dusk dust eagle earth
egg elegant elephant elf emerald empty energy engine epic epoch evening explosion eye eyes face
factory fairy family famous fantasy farm fashion fast feather female fence field fire fish
fisherman flag flat floating floor flower flowers flying fog food football forest fox frame fresh
frog fruit funny fur furniture future futuristic galaxy garden ghost giant giraffe girl glass
glasses gloomy glow glowing god gold golden gothic grass gray green grey group grumpy guitar hair
hall hamster happy harbor hat hawk heart helmet hero hill holding hood horizon horror horse hot
hotel house houses human hyper ice icon illustration image impressionist indoor industrial ink
insect interior intricate iron island jacket jazz jewel jungle king kitchen kitten knight lake
lamp landscape lantern leaf leather leaves legend lens library light lighthouse lighting lightning
lights lily lion living logo lush machine magic magical male map marble market mask master
masterpiece matte meadow metal middle minimal minimalist mirror mist modern monkey monster
monochrome moon morning moss motion motorcycle mountain mountains mouse movie mushroom music
mysterious nature nebula neon nest noir north ocean office oil orange ornate outdoor owl painted
painter painting palace pale palette panda paper park parrot pastel path pattern pencil penguin
perfect perspective photo photograph photography photorealistic picture pig pillow pine pink
pirate pixel pizza planet plant plants plastic plate playing pond portrait poster pot princess
print prompt pumpkin puppy purple queen rabbit rain rainbow rainy realistic red reflection render
rendering restaurant retro ring river road robot rock rocket romantic roof rose ruins running
rustic sad sailing sand scary scene school science sculpture sea season shadow shadows sharp sheep
shell shine ship shirt shoes shop shot silhouette silk silver simple sitting sketch skin skull sky
sleeping smile smiling smoke snake snow snowy soft soldier song space spaceship sphere spider
spring square stadium stairs standing star stars statue steam steampunk stone storm stormy story
street studio style stylized sub summer sun sunflower sunlight sunny sunrise sunset surreal sweet
sword symbol table tall tattoo tea temple texture tiger tiny toy traffic train tree trees triangle
tropical truck turtle twilight ultra umbrella underwater unicorn urban valley vase vector vibrant
victorian view village vintage violet volcano walking wall warm warrior watch watercolor waterfall
wave waves wearing wedding whale wheat wide wild wind window windows wine wings winter witch
wizard wolf wood wooden yellow zebra zoo zoom

0 1 2 3 4 5 6 7 8 9 10 16 20 24 30 35 50 64 85 100 2d 3d 4k 8k hd dslr mm iso f
"""


def word_list() -> list[str]:
    """The words above, each once, in the order in which they stand."""
    return list(dict.fromkeys(WORDS.split()))
